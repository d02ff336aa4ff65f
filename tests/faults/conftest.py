from __future__ import annotations

import gc
import re
import sys
import tempfile
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


@pytest.fixture(scope="session")
def _what_ray_keeps() -> None:
    """Ray opens some descriptors with its first cluster, and keeps them as long as the program."""
    from amltk_ray.executor import RayExecutor

    RayExecutor(1).shutdown()


@pytest.fixture
def _warmed_up(place, request: pytest.FixtureRequest) -> None:
    if place.name == "ray":
        request.getfixturevalue("_what_ray_keeps")


@pytest.fixture
def case(
    place, _warmed_up: None, tmp_path: Path, nothing_is_left: None, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Case]:
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
