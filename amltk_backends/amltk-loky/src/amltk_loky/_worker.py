"""What runs in workers.

    main process                                          worker

    initializer, initargs ────────── loky ──────────────> begin    once: before its first call
    run, call as bytes ───────────── loky ──────────────> run      each call
                      <───────────── loky ─────────────── outcome, as bytes
                      <───────────── a pipe ───────────── BEGUN, when a call begins; what faulthandler writes
    holds an end of a pipe  <──────────────────────────── is killed by the kernel when nobody holds that end

loky itself sees bytes only. What it would do with what can't be unpickled is to break its pool.
"""

from __future__ import annotations

import contextlib
import faulthandler
import fcntl
import multiprocessing
import os
import select
import signal
import sys
from collections.abc import Callable
from multiprocessing.connection import Connection
from multiprocessing.util import Finalize
from typing import Any

import cloudpickle

from amltk.remote import loads, pack_exception, unpicklable_result

BEGUN = b"\0"
RESULT, ERROR, UNPREPARED = range(3)
Outcome = tuple[int, bytes]

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
    _die_with(life.fileno())
    faulthandler.enable(notes.fileno())
    multiprocessing.set_start_method(start_method, force=True)
    _State.life, _State.notes, _State.initializer = life, notes, initializer


def _end_children() -> None:
    """Do for all children what Python does for daemonic ones: for others it waits, and joblib's stay for minutes."""
    for child in multiprocessing.active_children():
        child.terminate()


def _die_with(life: int) -> None:
    """Have the kernel kill this process group at the end of that file, whatever compiled code does then."""
    fcntl.fcntl(life, fcntl.F_SETOWN, -os.getpgid(0))
    fcntl.fcntl(life, fcntl.F_SETSIG, signal.SIGKILL)
    fcntl.fcntl(life, fcntl.F_SETFL, fcntl.fcntl(life, fcntl.F_GETFL) | os.O_ASYNC)
    if select.select([life], [], [], 0)[0]:  # it was over before
        os.killpg(0, signal.SIGKILL)


def run(data: bytes) -> Outcome:
    """Run a call, and return what comes of it; this never raises.

    Args:
        data: Function, arguments and keywords, pickled.
    """
    _State.end = _State.end or Finalize(None, _end_children, exitpriority=0)
    try:
        if _State.initializer is not None:
            _initialize(_State.initializer)
            _State.initializer = None
    except BaseException as error:  # whatever it is, no call can begin
        return UNPREPARED, _pack(error)
    if _State.notes is not None:
        with contextlib.suppress(OSError):  # a call may have closed it
            os.write(_State.notes.fileno(), BEGUN)
    try:
        outcome = RESULT, _run(data)
    except BaseException as error:  # also SystemExit and KeyboardInterrupt: it is the call that ends, not we
        outcome = ERROR, _pack(error)
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):  # the user may have closed or replaced it
            stream.flush()
    return outcome


def _initialize(data: bytes) -> None:
    initializer, initargs = loads(data)
    initializer(*initargs)


def _run(data: bytes) -> bytes:
    try:
        fn, args, kwargs = loads(data)
    except BaseException as error:
        error.add_note(f"Raised while the call was unpickled in worker process {os.getpid()}.")
        raise
    result = fn(*args, **kwargs)
    try:
        return dumps(result)
    except (Exception, SystemExit) as error:
        raise unpicklable_result(error, fn, result, dumps) from error


def _pack(error: BaseException) -> bytes:
    try:
        return dumps(pack_exception(error, dumps, loads))
    except BaseException as failure:  # an error so odd that not even its description can be had
        return dumps(pack_exception(RuntimeError(f"{type(error).__qualname__}, which cannot be sent: {failure!r}")))


def dumps(value: object) -> bytes:
    """Pickle `value`; what can't be imported by value."""
    data: bytes = cloudpickle.dumps(value)
    return data
