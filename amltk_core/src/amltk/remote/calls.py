"""A call that runs in another process, and its outcome.

    main process                                              worker

    call = RemoteCall(future, ..., dump_call(...))
    call.data ─────────────── as the backend sends it ──────> run_call(call.data)
    call.settle(outcome) <─── as the backend sends it ─────── outcome: result or exception, and execution

Nothing that a call is, raises or returns makes `run_call` or `settle` raise: every error ends in the call's future.
"""

from __future__ import annotations

import contextlib
import logging
import os
import platform
import struct
import sys
import time
from collections.abc import Callable, Mapping
from concurrent.futures import InvalidStateError
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from amltk.backend import Execution, ExecutionFuture
from amltk.describe import describe_call, name_of
from amltk.exceptions import add_note
from amltk.remote.exceptions import dump_exception, load_exception
from amltk.remote.pickling import Dumps, dumps, dumps_result, loads
from amltk.remote.unpicklable import unpicklable_call, unpicklable_result
from amltk.remote.worker_exit import peak_memory

_log = logging.getLogger("amltk")

_HEAD = struct.Struct("<?ddQQH")  # returned, started, seconds, pid, peak memory, length of the host


def dump_call(fn: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any], dumps: Dumps = dumps) -> bytes:
    """Return a pickled call.

    Raises:
        pickle.PicklingError: A part of it can't be pickled; the message names the part.
        Exception: The error of a `__reduce__` or `__getstate__` of the user's, SystemExit included.
    """
    try:
        return dumps((fn, args, kwargs))
    except (Exception, SystemExit) as error:
        raise unpicklable_call(error, fn, args, kwargs, dumps) from error


def run_call(data: bytes, dumps: Dumps = dumps_result) -> bytes:
    """Run a call of `dump_call`, and flush its output; this never raises.

    Returns:
        The outcome, for `RemoteCall.settle` or `read_outcome`.
    """
    started, began = time.time(), time.monotonic()
    try:
        returned, outcome = True, _run(data, dumps)
    except BaseException as error:  # also SystemExit and KeyboardInterrupt: they end the call, not the worker
        returned, outcome = False, dump_exception(error, dumps)
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):  # the user may have closed or replaced it
            stream.flush()
    host = platform.node().encode()
    seconds = time.monotonic() - began
    head = _HEAD.pack(returned, started, seconds, os.getpid(), peak_memory() or 0, len(host))
    return b"".join((head, host, outcome))


class Outcome(NamedTuple):
    """The outcome of a call.

    Attributes:
        returned: Whether the call has returned; False if it has raised.
        execution: Where and when it ran.
        data: The pickled result, or the exception as `dump_exception` pickles it.
    """

    returned: bool
    execution: Execution
    data: memoryview


def read_outcome(outcome: bytes | memoryview) -> Outcome:
    """Read the bytes that `run_call` returned; nothing is unpickled."""
    view = memoryview(outcome)
    returned, started, seconds, pid, memory, length = _HEAD.unpack_from(view)
    end = _HEAD.size + length
    host = str(view[_HEAD.size : end], "utf-8")
    execution = Execution(host=host, pid=pid, started=started, duration=seconds, peak_memory=memory or None)
    return Outcome(returned, execution, view[end:])


def _run(data: bytes, dumps: Dumps) -> bytes:
    try:
        fn, args, kwargs = loads(data)
    except BaseException as error:
        add_note(error, f"Raised while the call was unpickled in worker process {os.getpid()}.")
        raise
    result = fn(*args, **kwargs)
    try:
        return dumps(result)
    except (Exception, SystemExit) as error:
        raise unpicklable_result(error, fn, result, dumps) from error


@dataclass(eq=False)
class RemoteCall:
    """A call and its future; a backend extends it with its own attributes.

    Attributes:
        future: The future that the caller has; its `execution` is set here.
        fn: The function; kept, like `args` and `kwargs`, to describe the call in errors.
        args: Its positional arguments.
        kwargs: Its keyword arguments.
        data: The pickled call, of `dump_call`.
    """

    future: ExecutionFuture[Any]
    fn: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    data: bytes = field(repr=False)
    _wanted: bool | None = field(default=None, init=False, repr=False)
    _began: float = field(default=0.0, init=False, repr=False)

    @property
    def name(self) -> str:
        """The function's name, for messages."""
        return name_of(self.fn)

    def describe(self) -> str:
        """Return the call as text, such as `train(3, lr=0.1)`, with long values cut short."""
        return describe_call(self.fn, self.args, self.kwargs)

    def begin(self) -> bool:
        """Mark the future as running, the first time; False if it was cancelled."""
        if self._wanted is None:
            self._wanted = self.future.set_running_or_notify_cancel()
        return self._wanted

    def started(
        self, *, host: str, pid: int | None = None, worker: str = "", at: float | None = None, ago: float = 0.0
    ) -> None:
        """Set the future's `execution`, where the backend knows that a worker has begun the call.

        The outcome brings the worker's own figures. This serves until then, and for a call whose worker dies.

        Args:
            host: The worker's machine.
            pid: Its process id.
            worker: Its name; the execution of the outcome gets it too.
            at: The start, by the clock of the worker's machine; by default, by that of this machine.
            ago: Seconds since the start, by the monotonic clock of this machine.
        """
        self._began = time.monotonic() - ago
        self.future.execution = Execution(
            host=host, pid=pid, worker=worker, started=time.time() - ago if at is None else at
        )

    def fail(self, error: BaseException) -> None:
        """Set `error` as the future's exception, unless it was cancelled."""
        execution = self.future.execution
        if execution is not None and execution.duration is None:
            self.future.execution = replace(execution, duration=time.monotonic() - self._began)
        self._end(self.future.set_exception, error)

    def succeed(self, result: object) -> None:
        """Set the future's result, unless it was cancelled."""
        self._end(self.future.set_result, result)

    def settle(self, outcome: bytes | memoryview) -> None:
        """End the future with the bytes that `run_call` returned; an error of unpickling is the call's exception."""
        returned, execution, data = read_outcome(outcome)
        known = self.future.execution
        self.future.execution = execution if known is None else replace(execution, worker=known.worker)
        if not returned:
            self.fail(load_exception(data))
            return
        try:
            result = loads(data)
        except BaseException as error:
            add_note(error, f"Raised while what {self.name} returned was unpickled in the main process.")
            self.fail(error)
        else:
            self.succeed(result)

    def _end(self, settle: Callable[[Any], object], outcome: object) -> None:
        try:
            if self.begin():
                settle(outcome)
        except InvalidStateError:
            _log.exception("The future of %s was already settled by other code", self.describe())
