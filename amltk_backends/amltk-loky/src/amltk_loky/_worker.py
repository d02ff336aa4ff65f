"""What runs in workers.

    main process                                          worker

    initializer, initargs ────────── loky ──────────────> begin    once: before its first call
    run, call as bytes ───────────── loky ──────────────> run      each call
                      <───────────── loky ─────────────── outcome, as bytes
                      <───────────── a pipe ───────────── BEGUN and when, as a call begins; what faulthandler writes
    holds an end of a pipe  <──────────────────────────── is killed by the kernel when nobody holds that end

loky itself sees bytes only. What it would do with what can't be unpickled is to break its pool.
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
"""Whether the call has begun, and what `run_call` returned; or else the exception of the initializer."""

Initializer = tuple[Callable[..., object], tuple[Any, ...]]


class _State:
    """Of this worker.

    Attributes:
        initializer: The user's, pickled, until it has been called.
        notes: Where it is noted that a call begins; None in a pool that is not ours.
        life: Kept open for as long as the worker lives.
        end: Of the worker, in order; None before its first call.
    """

    initializer: bytes | None = None
    notes: Connection | None = None
    life: Connection | None = None
    end: Finalize | None = None


def begin(life: Connection, notes: Connection, start_method: str | None, initializer: bytes | None) -> None:
    """Prepare a worker of ours.

    Args:
        life: An end of a pipe whose other end closes when the main process dies.
        notes: Where calls that begin are noted, and crashes.
        start_method: How calls start processes with multiprocessing, if the main process has chosen; loky would
            leave its own, with which `multiprocessing.Process` and spawned processes fail.
        initializer: The user's, with its arguments, pickled; called by the first call, which can tell of a failure.
    """
    os.setsid()  # Ctrl-C is the main process's business, and all that calls start can be found
    for connection in (life, notes):
        os.set_inheritable(connection.fileno(), False)
    kill_on_pipe_close(life.fileno())
    faulthandler.enable(notes.fileno())
    multiprocessing.set_start_method(start_method, force=True)
    _State.life, _State.notes, _State.initializer = life, notes, initializer


def _end_children() -> None:
    """Do for all children what Python does for daemonic ones: for others it waits, and joblib's stay for minutes."""
    for child in multiprocessing.active_children():
        child.terminate()


def run(data: bytes) -> Outcome:
    """Run a call, and return what comes of it; this never raises.

    Args:
        data: The call, of `dump_call`.
    """
    _State.end = _State.end or Finalize(None, _end_children, exitpriority=0)
    try:
        if _State.initializer is not None:
            _initialize(_State.initializer)
            _State.initializer = None
    except BaseException as error:  # whatever it is, no call can begin
        return False, dump_exception(error)
    if _State.notes is not None:
        with contextlib.suppress(OSError):  # a call may have closed it
            os.write(_State.notes.fileno(), b"%b%f%b" % (BEGUN, time.time(), BEGUN))
    return True, run_call(data)


def _initialize(data: bytes) -> None:
    initializer, initargs = loads(data)
    initializer(*initargs)
