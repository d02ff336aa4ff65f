from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

# Ray comes for a new Python later than that Python.
collect_ignore = [] if find_spec("ray") else ["test_conformance_ray.py", "test_ray.py"]

# Workers import what is not sent by value from here.
sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(scope="module")
def cluster() -> Iterator[object]:
    """An executor whose cluster the executors of a module's tests share, since each takes its time to start."""
    from amltk_ray.executor import RayExecutor

    with RayExecutor(4) as executor:
        yield executor


@pytest.fixture
def make(cluster: object) -> Iterator[Callable[..., object]]:
    """Make executors in the shared cluster, which are closed at the end."""
    from amltk_ray.executor import RayExecutor

    made: list[RayExecutor] = []

    def make(*args: object, **options: object) -> RayExecutor:
        made.append(RayExecutor(*args, **options))
        return made[-1]

    yield make
    for executor in made:
        executor.shutdown(cancel_futures=True)


@pytest.fixture
def may_linger() -> int:
    """Allow Ray the socket of a try to reach a worker that had died: it is closed with the next connection to Ray."""
    return 1


@pytest.fixture
def clean(nothing_is_left: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Fail a test that leaves a process, thread, descriptor or file; its clusters are in a folder with a short name."""
    with tempfile.TemporaryDirectory(prefix="t", dir="/tmp") as folder:
        monkeypatch.setenv("TMPDIR", folder)
        monkeypatch.setattr(tempfile, "tempdir", None)
        yield Path(folder)
        assert not list(Path(folder).iterdir())
