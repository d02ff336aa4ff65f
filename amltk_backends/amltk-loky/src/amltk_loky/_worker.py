"""The functions that run in workers.

    main process                                          worker

    initializer, initargs ────────── loky ──────────────> begin    once: before its first call
    run, call as bytes ───────────── loky ──────────────> run      each call
                      <───────────── loky ─────────────── outcome, as bytes
                      <───────────── a pipe ───────────── BEGUN and the time, as a call begins; faulthandler's output
                          holds an end of a pipe  <──────────────────────────── the kernel kills it when that end closes

loky itself sees only bytes. Data that can't be unpickled would break its pool.
"""

from __future__ import annotations

import contextlib
import faulthandler
import multiprocessing
import os
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from multiprocessing.util import Finalize
from typing import Any

from amltk.remote import dump_exception, loads, run_call
from amltk.remote.worker_exit import kill_on_pipe_close

BEGUN = b"\0"
Outcome = tuple[bool, bytes]
"""Whether the call has begun, with the bytes of `run_call`; if not, with the initializer's exception."""

Initializer = tuple[Callable[..., object], tuple[Any, ...]]


class _State:
    """The state of this worker.

    Attributes:
        initializer: The user's initializer, pickled, until it has been called.
        notes: Takes a note when a call begins; None in loky's reusable pool.
        parent_pipe: The end of a pipe that shows whether the main process lives; kept open as long as the worker lives.
        end: Ends children in an orderly exit of the worker; None before the first call.
    """

    initializer: bytes | None = None
    notes: Connection | None = None
    parent_pipe: Connection | None = None
    end: Finalize | None = None


def begin(parent_pipe: Connection, notes: Connection, start_method: str | None, initializer: bytes | None) -> None:
    """Prepare a worker of our own pool.

    Args:
        parent_pipe: The end of a pipe whose other end closes when the main process dies.
        notes: Takes a note when a call begins, and faulthandler's output.
        start_method: The start method of multiprocessing for calls, if the main process has set one. loky would leave
            its own, with which `multiprocessing.Process` and spawned processes fail.
        initializer: The user's initializer with its arguments, pickled; the first call runs it, to report a failure.
    """
    os.setsid()  # Ctrl-C is for the main process; and every process that calls start can be found
    for connection in (parent_pipe, notes):
        os.set_inheritable(connection.fileno(), False)
    kill_on_pipe_close(parent_pipe.fileno())
    faulthandler.enable(notes.fileno())
    multiprocessing.set_start_method(start_method, force=True)
    _State.parent_pipe, _State.notes, _State.initializer = parent_pipe, notes, initializer


def _end_children() -> None:
    """Terminate all children, as Python does for daemonic ones: it waits for others, and joblib's live for minutes."""
    for child in multiprocessing.active_children():
        child.terminate()


def run(data: bytes) -> Outcome:
    """Run a call and return its outcome; this never raises.

    Args:
        data: The call, of `dump_call`.
    """
    _State.end = _State.end or Finalize(None, _end_children, exitpriority=0)
    try:
        if _State.initializer is not None:
            _initialize(_State.initializer)
            _State.initializer = None
    except BaseException as error:  # no call can begin after any error here
        return False, dump_exception(error)
    if _State.notes is not None:
        with contextlib.suppress(OSError):  # a call may have closed it
            os.write(_State.notes.fileno(), b"%b%f%b" % (BEGUN, time.time(), BEGUN))
    return True, run_call(data)


def _initialize(data: bytes) -> None:
    initializer, initargs = loads(data)
    initializer(*initargs)
