"""What several of the core's test files use."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from amltk.testing import FakeSite, ManualExecutor


@pytest.fixture
def manual() -> ManualExecutor:
    return ManualExecutor()


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(2) as executor:
        yield executor


@pytest.fixture
def site(tmp_path: Path) -> Iterator[FakeSite]:
    """A folder for fake distributions, on the path of this process too, in which no plugin was loaded so far."""
    with FakeSite(tmp_path / "site") as site:
        yield site
