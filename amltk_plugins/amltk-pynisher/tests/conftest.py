from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from amltk import Scheduler

# Other processes import the functions that are not sent by value from here.
sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(autouse=True)
def nothing_is_left() -> Iterator[None]:
    """Every test of this folder, whatever else it shows, leaves no process, thread or descriptor."""

    def there() -> tuple[set[int], set[threading.Thread], set[str]]:
        children = {child.pid for child in psutil.Process().children(recursive=True)}
        return children, set(threading.enumerate()), {path.name for path in Path("/proc/self/fd").iterdir()}

    before = there()
    yield
    assert there() == before


@pytest.fixture(params=["sequential", "threads", "processes"])
def scheduler(request: pytest.FixtureRequest) -> Scheduler:
    options = {} if request.param == "sequential" else {"max_workers": 2}
    return Scheduler.with_backend(request.param, **options)


@pytest.fixture
def until() -> Callable[[Callable[[], object]], None]:
    """Wait until a condition holds."""

    def wait(condition: Callable[[], object]) -> None:
        end = time.monotonic() + 20
        while not condition():
            assert time.monotonic() < end, "it never came true"
            time.sleep(0.002)

    return wait
