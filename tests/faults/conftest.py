from __future__ import annotations

import contextlib
import gc
import re
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from multiprocessing import resource_tracker
from pathlib import Path

import pytest
from loky.backend import resource_tracker as loky_resource_tracker

# Workers import what is not sent by value from here.
sys.path.insert(0, str(Path(__file__).parent))

from fault_case import Case
from fault_places import PLACES
from fault_rows import ROWS

ROW_OF = re.compile(r"test_([a-g]\d+)_")


def pytest_itemcollected(item: pytest.Item) -> None:
    """Mark all that is in here."""
    item.add_marker("thorough")
    if isinstance(item, pytest.Function) and hasattr(item, "callspec"):
        place = item.callspec.params.get("place")
        if getattr(place, "name", "") == "ray":
            item.add_marker("ray")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Let each test of a fault run in every place where the fault can happen."""
    if "place" not in metafunc.fixturenames or any(
        "place" in each.args for each in metafunc.definition.iter_markers("parametrize")
    ):
        return  # no fault, or for one place only
    found = ROW_OF.match(metafunc.function.__name__)
    assert found is not None, f"{metafunc.function.__name__} names no row"
    row = next(row for row in ROWS if row.id == found[1].upper())
    applies = [place for place in PLACES if not place.lacks(row)]
    metafunc.parametrize("place", applies, ids=[place.name for place in applies])


@pytest.fixture(scope="module", autouse=True)
def _what_libraries_keep(trackers: Callable[..., None], thread_of_dask: None) -> None:
    trackers(resource_tracker, loky_resource_tracker)


CHANGES_WORKERS = re.compile(r"test_([ae]\d+|b9|f1)_")
"""Tests that have a cluster of Ray each, for all of their runs: those of others would not be as they were."""


class SharedCluster:
    """A cluster of Ray, for the runs of many tests, since each takes seconds to start.

    Attributes:
        guard: The process that has all others of the cluster below it, if it is up.
    """

    def __init__(self) -> None:
        self.guard: set[int] = set()
        self._stack = contextlib.ExitStack()

    def open(self) -> None:
        if not self.guard:
            self.guard.add(self._stack.enter_context(open_ray()))

    def close(self) -> None:
        self.guard.clear()
        self._stack.close()


@contextlib.contextmanager
def open_ray() -> Iterator[int]:
    """Start a cluster of Ray that runs take instead of one of their own, with workers; return its first process."""
    from amltk_ray.executor import RayExecutor

    with RayExecutor(2) as executor:
        list(executor.map(time.sleep, [0.3, 0.3]))
        yield executor._local._guard.pid


@pytest.fixture(scope="session")
def what_ray_keeps() -> None:
    """Ray opens some descriptors with its first cluster, and keeps them as long as the program."""
    with open_ray():
        pass


@pytest.fixture(scope="module")
def shared_cluster() -> Iterator[SharedCluster]:
    cluster = SharedCluster()
    yield cluster
    cluster.close()


@pytest.fixture
def may_linger(place) -> int:
    """Allow Ray the socket of a try to reach a worker that had died: it is closed with the next connection to Ray."""
    return int(place.name == "ray")


@pytest.fixture
def beside(place, shared_cluster: SharedCluster, request: pytest.FixtureRequest) -> set[int]:
    """Return the first process of the cluster of Ray that tests share which change no workers."""
    if place.name == "ray":
        request.getfixturevalue("what_ray_keeps")
        if CHANGES_WORKERS.match(request.function.__name__):
            shared_cluster.close()
        else:
            shared_cluster.open()
    return shared_cluster.guard


@pytest.fixture
def cluster_of_the_test(place, nothing_is_left: None, request: pytest.FixtureRequest) -> Iterator[None]:
    """Have a cluster of Ray that has to be gone after the test, if it is one that changes workers."""
    if place.name == "ray" and CHANGES_WORKERS.match(request.function.__name__):
        with open_ray():
            yield
    else:
        yield


@pytest.fixture
def case(place, tmp_path: Path, cluster_of_the_test: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[Case]:
    temporary = tmp_path / "temporary"
    folder = tmp_path / "noted"
    temporary.mkdir()
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    monkeypatch.setattr(tempfile, "tempdir", None)
    case = Case(place, folder)
    yield case
    case.check()
    gc.collect()  # the standard library's pool has circles that hold descriptors
    assert not list(temporary.iterdir())
