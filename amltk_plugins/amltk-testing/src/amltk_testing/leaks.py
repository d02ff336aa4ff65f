"""Tests of leaks: processes, threads and file descriptors that are left after runs."""

from __future__ import annotations

import contextlib
import gc
import os
import threading
import uuid
from pathlib import Path
from typing import ClassVar

import psutil
import pytest

from amltk_testing import calls
from amltk_testing.backend_base import BackendSuite
from amltk_testing.suite import comes_true, fail

ONCE = ("resource_tracker", "forkserver", "resource-tracker")
"""Processes of the standard library that live as long as the program, once they were needed."""

MARK = "AMLTK_TESTING_MARK"


def processes(mark: str = "") -> dict[int, str]:
    """Return the commands of this process's children, of theirs, and of all that inherited this mark, by id."""
    candidates = {child.pid: child for child in psutil.Process().children(recursive=True)}
    if mark:
        candidates |= {process.pid: process for process in psutil.process_iter() if _has(process, mark)}
    found = {}
    for pid, process in candidates.items():
        with contextlib.suppress(psutil.Error):  # it is gone
            command = " ".join(process.cmdline()) or process.name()
            if process.is_running() and not any(word in command for word in ONCE):
                found[pid] = command
    return found


def threads_and_processes() -> set[object]:
    """Return the threads of this process, and the ids of its children and theirs."""
    return {*threading.enumerate(), *processes()}


def _has(process: psutil.Process, mark: str) -> bool:
    try:
        return process.environ().get(MARK) == mark
    except (psutil.Error, OSError):  # gone, or somebody else's
        return False


class Leftovers(BackendSuite):
    """Nothing of a run is left after it."""

    group: ClassVar[str] = "nothing left over"

    def test_no_process_is_left(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """No child of this process, nor a child of such a one, be it one that has left its parent."""
        mark = uuid.uuid4().hex
        monkeypatch.setitem(os.environ, MARK, mark)
        before = processes()
        self._run_some()
        if not comes_true(lambda: processes(mark).keys() <= before.keys(), min(5, self.seconds)):
            left = {pid: command for pid, command in processes(mark).items() if pid not in before}
            fail(f"after three runs these processes were left: {left}; shutdown() has to end them")

    def test_no_thread_is_left(self) -> None:
        """No thread of this process."""
        before = set(threading.enumerate())
        self._run_some()
        if not comes_true(lambda: set(threading.enumerate()) <= before, min(5, self.seconds)):
            left = sorted(thread.name for thread in set(threading.enumerate()) - before)
            fail(f"after three runs these threads were left: {left}; shutdown() has to end them")

    def test_no_file_descriptor_is_left(self) -> None:
        """No file, pipe or socket of this process. What the first run opens once and for all does not count."""
        self._run_some()
        before = self._descriptors()
        self._run_some()
        if not comes_true(lambda: len(self._descriptors()) <= len(before), min(5, self.seconds)):
            left = sorted(set(self._descriptors()) - set(before))
            fail(f"after three runs these descriptors were left: {left}; shutdown() has to close them")

    def _run_some(self) -> None:
        scheduler = self.scheduler()
        scheduler.on_start(lambda: [scheduler.submit(calls.add, number) for number in range(4)] and None)
        for _ in range(3):
            self.run(scheduler)

    def _descriptors(self) -> list[str]:
        gc.collect()
        folder = Path("/proc/self/fd")
        if not folder.exists():  # not Linux
            return [f"descriptor {number}" for number in range(psutil.Process().num_fds())]
        found = []
        for path in folder.iterdir():
            with contextlib.suppress(OSError):  # that of the listing itself
                found.append(f"{path.name} -> {path.readlink()}")
        return found
