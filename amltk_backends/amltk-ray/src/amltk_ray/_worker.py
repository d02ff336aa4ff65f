"""What runs in workers of Ray.

    main process                                     worker

    call as bytes, token ── a task of Ray's ───────> run: notes the token, if the cluster is ours
                         <───────── its result ───── what came of it, as bytes

What `run` has to know beside that goes to each worker once, with the function.

Ray itself sees bytes only: no keyword of the user's, and nothing that could fail to unpickle.
"""

from __future__ import annotations

import contextlib
import faulthandler
import os
import signal
import struct
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, NamedTuple

import cloudpickle

from amltk.remote import loads, pack_exception, unpicklable_result

RESULT, ERROR = range(2)

_HEAD = struct.Struct("<Bd")

BEGUN = "begun"
"""The folder of a cluster of ours in which a file, named as its token, has the pid of each call that runs."""
NOTES = "notes"
"""The folder in which a file, named as the worker's pid, has what faulthandler wrote."""


class Outcome(NamedTuple):
    """What came of a call.

    Attributes:
        kind: `RESULT` or `ERROR`.
        data: The result, or its error as `amltk.remote` packs it; pickled.
        seconds: How long it took.
    """

    kind: int
    data: memoryview
    seconds: float


class _State:
    """Of this worker.

    Attributes:
        notes: Where faulthandler writes; kept open for as long as the worker lives.
        path: The last that was imported from.
    """

    notes: IO[str] | None = None
    path: list[str] | None = None


def runner(home: str | None) -> Callable[[bytes, str], bytes]:
    """Return the function that workers run: `run` for this program.

    Args:
        home: Of a cluster of ours, on this machine; None in one that exists.
    """
    python = tuple({sys.prefix, sys.base_prefix, sys.exec_prefix, sys.base_exec_prefix})
    path = [folder for each in sys.path if not (folder := each or os.getcwd()).startswith(python)]  # noqa: PTH109

    def amltk(data: bytes, token: str) -> bytes:  # Ray shows this name
        return run(data, token, home, path)

    return amltk


def run(data: bytes, token: str, home: str | None, path: list[str]) -> bytes:
    """Run a call, and return what comes of it; this never raises.

    Args:
        data: Function, arguments and keywords, pickled.
        token: Of this call.
        home: Of a cluster of ours, on this machine; None in one that exists.
        path: Where the program imports from, its Python aside.
    """
    began = time.perf_counter()
    if path is not _State.path:
        _State.path = path
        sys.path += [each for each in path if each not in sys.path]
    with _noted(token, home), _ended_by_signals():
        try:
            kind, outcome = RESULT, _run(data)
        except BaseException as error:  # also SystemExit and KeyboardInterrupt: it is the call that ends, not we
            kind, outcome = ERROR, _pack(error)
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):  # the user may have closed or replaced it
            stream.flush()
    return _HEAD.pack(kind, time.perf_counter() - began) + outcome


def read(outcome: bytes) -> Outcome:
    """Read what `run` has returned."""
    kind, seconds = _HEAD.unpack_from(outcome)
    return Outcome(kind, memoryview(outcome)[_HEAD.size :], seconds)


@contextlib.contextmanager
def _noted(token: str, home: str | None) -> Iterator[None]:
    if home is None:
        yield
        return
    if _State.notes is None:
        _State.notes = (Path(home) / NOTES / str(os.getpid())).open("w", encoding="utf-8")
        faulthandler.enable(_State.notes)
    name = f"{home}/{BEGUN}/{token}"
    with open(f"{name}.part", "w", encoding="ascii") as file:  # noqa: PTH123 - a call may take less than a Path
        file.write(str(os.getpid()))
    os.rename(f"{name}.part", name)  # noqa: PTH104 - likewise
    try:
        yield
    finally:
        os.unlink(name)  # noqa: PTH108 - likewise


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
