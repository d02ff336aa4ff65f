"""Starts batch systems for tests, one after the other."""

from __future__ import annotations

import asyncio
import os
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

# Workers import from here, too.
sys.path.insert(0, str(Path(__file__).parent))

from batch_systems import SYSTEMS, BatchSystem, lacking


@pytest.fixture(scope="session", params=SYSTEMS)
def system(request: pytest.FixtureRequest) -> Iterator[BatchSystem]:
    """A batch system; pytest does all tests with one before those with the next."""
    if lack := lacking():
        if "CI" in os.environ:
            pytest.fail(lack)
        pytest.skip(lack)
    system = SYSTEMS[request.param]
    was_there = system.runs
    try:
        with pytest.MonkeyPatch.context() as patch:
            for name, value in system.start().items():
                patch.setenv(name, value)
            yield system
    finally:
        if not was_there:
            processes = system.all_processes()
            system.stop()
            assert not system.runs
            assert [process for process in processes if process.is_running()] == []


@pytest.fixture(scope="session", autouse=True)
def _what_dask_keeps() -> None:
    """Start what stays as long as the program, so that nobody takes it for a leftover."""
    from distributed.utils import offload  # who skips these tests may not have it

    asyncio.run(offload(int))


@pytest.fixture
def job_name() -> str:
    """A name by which the jobs of a test are told from all others; longer ones are cut somewhere."""
    return f"t{uuid.uuid4().hex[:7]}"
