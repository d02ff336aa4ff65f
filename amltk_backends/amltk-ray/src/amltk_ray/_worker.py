"""The functions that run in workers of Ray.

    main process                                     worker

    call as bytes ── a task of Ray's ───────> run: records the task's id, if the cluster is ours
                  <───────── its result ───── outcome, as bytes

The other arguments of `run` go to each worker once, with the function.

Ray itself sees only bytes: none of the user's keywords, and nothing that could fail to unpickle.
"""

from __future__ import annotations

import contextlib
import faulthandler
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

import ray

from amltk.preparation import child_path
from amltk.remote import run_call

BEGUN = "begun"
"""The folder of our own cluster in which a file, named after a worker's pid, has the id of its latest task."""
NOTES = "notes"
"""The folder in which a file, named after the worker's pid, has faulthandler's output."""


class _State:
    """The state of this worker.

    Attributes:
        notes: The file for faulthandler's output; open as long as the worker lives.
        begun: The descriptor of the file with the id of the latest task; open as long as the worker lives.
        path: The last value of `run`'s argument.
    """

    notes: IO[str] | None = None
    begun = -1
    path: list[str] | None = None


def runner(home: str | None) -> Callable[[bytes], bytes]:
    """Return the function that workers run: `run` with the arguments of this program.

    Args:
        home: The folder of our own cluster, on this machine; None in an existing cluster.
    """
    python = tuple({sys.prefix, sys.base_prefix, sys.exec_prefix, sys.base_exec_prefix})
    path = [folder for folder in child_path() if not folder.startswith(python)]

    def amltk(data: bytes) -> bytes:  # Ray shows this name
        return run(data, home, path)

    return amltk


def run(data: bytes, home: str | None, path: list[str]) -> bytes:
    """Run a call and return its outcome; this never raises.

    Args:
        data: The call, of `dump_call`.
        home: The folder of our own cluster, on this machine; None in an existing cluster.
        path: The program's `sys.path`, except for the folders of its Python.
    """
    if path is not _State.path:
        _State.path = path
        sys.path += [each for each in path if each not in sys.path]
    if home is not None:
        _note(home)
    with _ended_by_signals():
        return run_call(data)


def _note(home: str) -> None:
    if _State.notes is None:
        _State.notes = (Path(home) / NOTES / str(os.getpid())).open("w", encoding="utf-8")
        faulthandler.enable(_State.notes)
        _State.begun = os.open(f"{home}/{BEGUN}/{os.getpid()}", os.O_WRONLY | os.O_CREAT, 0o600)
    os.pwrite(_State.begun, ray.get_runtime_context().get_task_id().encode("ascii"), 0)


@contextlib.contextmanager
def _ended_by_signals() -> Iterator[None]:
    """Let SIGTERM end the worker, as it ends other programs; Ray raises an exception, which calls might catch."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        yield
    finally:
        if before is not None and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
            signal.signal(signal.SIGTERM, before)
