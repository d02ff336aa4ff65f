"""What runs in workers of Ray.

    main process                                     worker

    call as bytes ── a task of Ray's ───────> run: notes which task, if the cluster is ours
                  <───────── its result ───── what came of it, as bytes

What `run` has to know beside that goes to each worker once, with the function.

Ray itself sees bytes only: no keyword of the user's, and nothing that could fail to unpickle.
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
"""The folder of a cluster of ours in which a file, named as a worker's pid, has the id of its latest task of Ray's."""
NOTES = "notes"
"""The folder in which a file, named as the worker's pid, has what faulthandler wrote."""


class _State:
    """Of this worker.

    Attributes:
        notes: Where faulthandler writes; kept open for as long as the worker lives.
        begun: The descriptor of the file that has the id of the latest task; likewise.
        path: The last that was imported from.
    """

    notes: IO[str] | None = None
    begun = -1
    path: list[str] | None = None


def runner(home: str | None) -> Callable[[bytes], bytes]:
    """Return the function that workers run: `run` for this program.

    Args:
        home: Of a cluster of ours, on this machine; None in one that exists.
    """
    python = tuple({sys.prefix, sys.base_prefix, sys.exec_prefix, sys.base_exec_prefix})
    path = [folder for folder in child_path() if not folder.startswith(python)]

    def amltk(data: bytes) -> bytes:  # Ray shows this name
        return run(data, home, path)

    return amltk


def run(data: bytes, home: str | None, path: list[str]) -> bytes:
    """Run a call, and return what comes of it; this never raises.

    Args:
        data: The call, of `dump_call`.
        home: Of a cluster of ours, on this machine; None in one that exists.
        path: Where the program imports from, its Python aside.
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
    """Have SIGTERM end the worker, as it ends others; in one of Ray's it is an exception, which calls might catch."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        yield
    finally:
        if before is not None and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
            signal.signal(signal.SIGTERM, before)
