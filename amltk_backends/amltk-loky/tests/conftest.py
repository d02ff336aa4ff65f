from __future__ import annotations

import gc
import sys
from collections.abc import Callable, Iterator
from multiprocessing import resource_tracker
from pathlib import Path

import pytest
from loky.backend import resource_tracker as loky_resource_tracker

from amltk_loky.executor import LokyExecutor

# Workers import what is not sent by value from here.
sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(scope="module", autouse=True)
def _trackers(trackers: Callable[..., None]) -> None:
    trackers(resource_tracker, loky_resource_tracker)


@pytest.fixture
def make(nothing_is_left: None) -> Iterator[object]:
    """Make executors, which are closed at the end, and leave nothing behind."""
    made: list[LokyExecutor] = []

    def make(*args, **options) -> LokyExecutor:
        made.append(LokyExecutor(*args, **options))
        return made[-1]

    yield make
    for executor in made:
        executor.shutdown()
    gc.collect()  # loky's pools have circles that hold descriptors
