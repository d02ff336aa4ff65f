"""Options, checks and fixtures for all test folders."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import distributions
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from packaging.markers import Marker
from packaging.requirements import Requirement

if TYPE_CHECKING:
    from amltk_testing import FakeSite


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add `--all`."""
    parser.addoption("--all", action="store_true", help="run the tests that are marked `thorough`, too")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out the thorough tests, except with `--all` or if their file is named."""
    if config.option.all:
        return
    named = {Path(argument.partition("::")[0]).resolve() for argument in config.args}
    left_out = [item for item in items if item.get_closest_marker("thorough") and item.path not in named]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        gone = set(left_out)
        items[:] = [item for item in items if item not in gone]


def pytest_configure() -> None:
    """Restore the signals that a shell or `nohup` makes background programs and their children ignore."""
    for number, handler in [
        (signal.SIGINT, signal.default_int_handler),
        (signal.SIGQUIT, signal.SIG_DFL),
        (signal.SIGHUP, signal.SIG_DFL),
    ]:
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, handler)


def pytest_report_header(config: pytest.Config) -> list[str]:
    """List the libraries without a release for this Python, which our distributions do not require there."""
    ours = [each for each in distributions() if each.metadata["Name"].startswith("amltk")]
    needs = [(each.metadata["Name"], Requirement(need)) for each in ours for need in each.requires or ()]
    missing = [f"{need.name} of {name}" for name, need in needs if need.marker and not _holds(need.marker)]
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    header = [] if config.option.all else ["without the thorough tests of the folders; --all runs them"]
    if missing:
        header.append(f"no release for Python {version}, so not tested: {', '.join(missing)}")
    return header


def _holds(marker: Marker) -> bool:
    return "extra" in str(marker) or marker.evaluate()


@pytest.fixture
def beside() -> set[int]:
    """Return processes beside the tests that may start and end others; folders may override this."""
    return set()


@pytest.fixture
def may_linger() -> int:
    """Return how many unconnected sockets may be left; folders may override this."""
    return 0


@pytest.fixture
def site(tmp_path: Path) -> Iterator[FakeSite]:
    """Return a folder for fake distributions, which is also on this process's path; no plugin is loaded yet."""
    from amltk_testing import FakeSite  # not every environment with tests has it

    with FakeSite(tmp_path / "site") as site:
        yield site


@pytest.fixture
def nothing_is_left(beside: set[int], may_linger: int) -> Iterator[None]:
    """Fail a test that leaves a process, thread or descriptor, even if it fails anyway."""
    import psutil  # not every environment with tests has it

    def descriptors() -> list[str]:
        found, dead = [], []
        connected = {str(each.fd) for each in psutil.Process().net_connections("all")} if may_linger else set()
        for path in Path("/proc/self/fd").iterdir():
            with contextlib.suppress(FileNotFoundError):  # the descriptor of this listing
                target = str(path.readlink())
                if may_linger and target.startswith("socket:") and path.name not in connected:
                    dead.append(path.name)
                else:
                    # Ray always has one log open: each connection replaces the last one's.
                    found.append("Ray's log" if "/logs/python-core-driver-" in target else path.name)
        return sorted(found + dead[may_linger:])

    def there() -> tuple[set[int], set[threading.Thread], list[str]]:
        children = {child.pid for child in psutil.Process().children(recursive=True)}
        for pid in beside:
            children -= {child.pid for child in psutil.Process(pid).children(recursive=True)}
        # Python's own resource tracker, once a call has needed it, stays until the program ends.
        tracker = sys.modules.get("multiprocessing.resource_tracker")
        its_own = vars(tracker._resource_tracker) if tracker else {}
        children.discard(its_own.get("_pid"))
        opened = [each for each in descriptors() if each != str(its_own.get("_fd"))]
        return children, set(threading.enumerate()), opened

    children, threads, opened = there()
    yield
    now = there()
    # Threads and processes from before the test may end during it, such as an engine's thread.
    left = now[0] - children, now[1] - threads, Counter(now[2]) - Counter(opened)
    assert left == (set(), set(), Counter()), "left: children, threads, descriptors"


@pytest.fixture
def forks_warn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Have each fork here and in child Pythons raise in the parent, as the warning does in Python 3.15.

    That Python warns if other threads exist, those of libraries included, and warnings are errors.
    """
    code = f"""
import os, warnings
real = os.fork
def fork():
    pid = real()
    if pid:
        open({str(tmp_path)!r} + f"/forked-{{os.getpid()}}", "w").close()
        warnings.warn("This process is multi-threaded", DeprecationWarning, stacklevel=2)
    return pid
os.fork = fork
"""
    (tmp_path / "sitecustomize.py").write_text(code, encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setenv("PYTHONWARNINGS", "error:This process:DeprecationWarning")
    monkeypatch.setattr(os, "fork", os.fork)  # restored at the end
    exec(code, {})  # noqa: S102 - the same code for this process
    yield
    assert list(tmp_path.glob("forked-*")), "no process has forked"


@pytest.fixture
def lives() -> Callable[[int], bool]:
    """Return a function that tells whether a process lives; a zombie does not."""
    import psutil  # not every environment with tests has it

    def lives(pid: int) -> bool:
        try:
            return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return False

    return lives


@pytest.fixture(scope="module")
def trackers() -> Iterator[Callable[..., None]]:
    """Start resource trackers, which live as long as the program, so that no test reports them as left over.

    They end with the module, as other tests count the children of this process.
    """
    started: list[Any] = []

    def start(*modules: Any) -> None:
        for module in modules:
            module._resource_tracker.ensure_running()
            started.append(module._resource_tracker)

    yield start
    for tracker in started:  # not by `_stop`, which older versions of loky lack
        os.close(tracker._fd)
        os.waitpid(tracker._pid, 0)
        tracker._fd = tracker._pid = None


@pytest.fixture(scope="module")
def thread_of_dask() -> Iterator[None]:
    """Start the thread that dask keeps for good; it ends with the module, as other tests count threads."""
    from distributed import utils

    asyncio.run(utils.offload(int))
    yield
    utils._offload_executor.shutdown()
    utils._offload_executor = ThreadPoolExecutor(1, thread_name_prefix="Dask-Offload")


@pytest.fixture
def until() -> Callable[..., None]:
    """Return a function that waits until a condition holds."""

    def wait(condition: Callable[[], object], seconds: float = 40) -> None:
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end, "it never came true"
            time.sleep(0.002)

    return wait


@pytest.fixture
def search_elsewhere(tmp_path: Path) -> Callable[[str], dict[str, int]]:
    """Return a function that runs the tuning example with another backend, and counts how its trials ended."""

    def search(constructor: str) -> dict[str, int]:
        before = "Scheduler.with_processes("
        text = (Path(__file__).parent / "examples" / "tune_digits.py").read_text(encoding="utf-8")
        assert text.count(before) == 1
        script = tmp_path / "tune_digits.py"
        script.write_text(text.replace(before, f"Scheduler.{constructor}"), encoding="utf-8")
        command = [sys.executable, script, "--no-display", "--trials", "8", "--seconds", "150"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=170, check=False)
        output = done.stdout + done.stderr
        assert done.returncode == 0, output
        assert "all trials are done" in output
        return {end: int(count) for count, end in re.findall(r"(\d+) (finished|too slow|too big|failed)", output)}

    return search


@pytest.fixture(scope="module")
def tracker_of_the_program() -> Iterator[None]:
    """Start the resource tracker, as a program with shared memory does; it would stay as long as the program."""
    from multiprocessing import resource_tracker

    resource_tracker.ensure_running()
    yield
    resource_tracker._resource_tracker._stop()  # type: ignore[attr-defined]
