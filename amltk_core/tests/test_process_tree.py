"""How processes are ended."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from amltk.remote.process_tree import GRACE, end_process_trees

Start = Callable[..., tuple[psutil.Process, list[psutil.Process]]]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    started: list[psutil.Popen] = []

    def start(code: str, *, children: int) -> tuple[psutil.Process, list[psutil.Process]]:
        ready = tmp_path / "ready"
        code += f"\nimport pathlib, time; pathlib.Path({str(ready)!r}).touch(); time.sleep(60)"
        root = psutil.Popen([sys.executable, "-c", code], cwd=tmp_path)
        started.append(root)
        end = time.monotonic() + 30
        while not ready.exists() or len(root.children()) < children:
            assert time.monotonic() < end
            time.sleep(0.01)
        return root, root.children()

    yield start
    for process in started:
        process.kill()
        process.wait()


def is_gone(process: psutil.Process) -> bool:
    return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE


def test_a_process_that_handles_sigterm_cleans_up(start: Start, tmp_path: Path) -> None:
    code = "import signal, pathlib\nsignal.signal(signal.SIGTERM, lambda *_: (pathlib.Path('clean').touch(), exit(0)))"
    root, _ = start(code, children=0)
    assert end_process_trees([root.pid])
    assert is_gone(root)
    assert (tmp_path / "clean").exists()


def test_a_process_that_ignores_sigterm_is_killed_after_the_grace(start: Start) -> None:
    root, _ = start("import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)", children=0)
    began = time.monotonic()
    assert end_process_trees([root.pid])
    assert time.monotonic() - began >= GRACE
    assert is_gone(root)


@pytest.mark.parametrize("grace", [0, GRACE])
def test_a_resource_tracker_removes_what_killed_processes_leave(start: Start, tmp_path: Path, grace: float) -> None:
    code = """
from multiprocessing import resource_tracker, shared_memory
shared = shared_memory.SharedMemory(create=True, size=1)
open("name", "w").write(shared.name)
"""
    root, trackers = start(code, children=1)
    assert end_process_trees([root.pid], grace)
    assert all(map(is_gone, [root, *trackers]))
    assert not Path("/dev/shm", (tmp_path / "name").read_text()).exists()
