"""Starts batch systems for tests, one after the other."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

# Workers import from here, too.
sys.path.insert(0, str(Path(__file__).parent))

from batch_systems import SOON, SYSTEMS, BatchSystem, lacking

from amltk import Scheduler


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


@pytest.fixture
def make(system: BatchSystem, job_name: str, tmp_path: Path, monkeypatch, until) -> Iterator[Callable[..., Scheduler]]:
    """Make schedulers; after the test no job of theirs is left, nor a file."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)

    def make(n_workers: int = 2, **options: Any) -> Scheduler:
        return Scheduler.with_backend(system.name, n_workers=n_workers, **system.options_of(job_name, **options))

    yield make
    until(lambda: system.jobs(job_name) == [], SOON)
    assert list(folder.iterdir()) == []


@pytest.fixture
def meanwhile() -> Iterator[Callable[[Scheduler, Callable[[], object]], None]]:
    """Do something in another thread, while a run is on, which ends if that fails."""
    failed: list[BaseException] = []
    threads: list[threading.Thread] = []

    def meanwhile(scheduler: Scheduler, function: Callable[[], object]) -> None:
        def do() -> None:
            try:
                function()
            except BaseException as error:
                failed.append(error)
                scheduler.stop()

        threads.append(threading.Thread(target=do))
        threads[-1].start()

    yield meanwhile
    for thread in threads:
        thread.join()
    for error in failed:
        raise error
