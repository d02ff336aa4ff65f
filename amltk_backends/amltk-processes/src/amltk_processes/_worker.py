"""The loop of a worker: take a token, run the call of that number, send the result.

Calls run in the main thread, so they may set signal handlers and timers.
"""

from __future__ import annotations

import collections
import contextlib
import functools
import importlib
import os
import select
import socket
import sys
import threading
import time
from collections.abc import Callable, Sequence

from amltk.remote.worker_exit import peak_memory
from amltk_processes import _leftovers
from amltk_processes._frames import (
    ALIVE,
    BEAT,
    CALL,
    ERROR,
    FUNCTION,
    MOST_FUNCTIONS,
    NUMBER,
    RESULT,
    SHORT,
    FrameReader,
    FrameWriter,
    Memory,
    pack,
)
from amltk_processes._pickling import FAILURES, dumps_result, loads
from amltk_processes._worker_logs import Levels, LogSender

TYPE_CHECKING = False  # each start would wait for `typing` to be imported
if TYPE_CHECKING:
    from typing import Any


class _Function:
    """A pickled function. The first call that needs it unpickles it, so a failure fails that call."""

    def __init__(self, data: memoryview, buffers: Sequence[Memory] | None) -> None:
        self._data: memoryview | None = data
        self._buffers = buffers
        self._function: Callable[..., Any]

    def get(self) -> Callable[..., Any]:
        if self._data is not None:
            _check_memory(self._buffers)
            self._function = loads(self._data)
            self._data = None
        return self._function


Call = tuple[int, _Function | None, memoryview, Sequence[Memory] | None]


def _check_memory(buffers: Sequence[Memory] | None) -> Sequence[Memory]:
    if buffers is None:
        msg = "There is not enough memory in the worker process for what the call was sent with."
        raise MemoryError(msg)
    return buffers


def work(connection: socket.socket, tokens: int, levels: Levels | None = None) -> None:
    """Run calls until the main process closes its ends, or is gone.

    Args:
        connection: The socket for calls and results.
        tokens: The reading end of the pipe of tokens. The process that reads the number of a call from
            it has that call: this one runs it, or the main process gives it to another worker.
        levels: The levels of the main process's loggers; None if log records stay here.
    """
    writer = FrameWriter(connection)
    logs = LogSender(writer)
    if levels is not None:
        logs.install(levels)

    held = [tokens]

    def let_go() -> None:  # once only: in a fork of a fork, the number may be another file's
        logs.forget()
        writer.forget()
        while held:
            os.close(held.pop())

    # A fork that a call makes must not keep these open when this worker exits, nor run on as a second worker.
    os.register_at_fork(after_in_child=let_go)
    _leftovers.remember()
    calls = _Calls(connection, writer)
    with contextlib.suppress(ConnectionError):  # the main process is gone
        writer.send(pack(ALIVE, os.getpid(), 0, b""))
        while token := _next_token(tokens):
            # Skips the calls whose tokens the main process has reclaimed.
            call = calls.get(NUMBER.unpack(token)[0])
            if call is None:
                return
            logs.number = call[0]
            _answer(writer, logs, *call)
            del call  # it may be large, and the next call may come late


def run_initializer(
    preload: Sequence[str], initializer: Callable[..., object] | None, initargs: tuple[Any, ...]
) -> None:
    """Import modules and call the initializer; its result is dropped, as it may not be picklable.

    Raises:
        ImportError: A module can't be imported.
    """
    for name in preload:  # done before by the fork server, unless each worker is a fresh interpreter
        try:
            importlib.import_module(name)
        except ImportError as error:
            error.msg = f"{error}. It was raised by the import of {name!r}, because of preload={list(preload)!r}."
            error.args = (error.msg,)
            raise
        except BaseException as error:
            error.add_note(f"Raised by the import of {name!r}, because of preload={list(preload)!r}.")
            raise
    if initializer is not None:
        initializer(*initargs)
    _leftovers.remember()


def _beat(writer: FrameWriter, seconds: float) -> None:
    with contextlib.suppress(OSError):  # the main process is gone
        while True:
            time.sleep(seconds)
            writer.send(pack(ALIVE, os.getpid(), 0, b""))


def _next_token(tokens: int) -> bytes:
    # Both ends of a pipe's readers share one "non-blocking" flag, and the main process needs it set.
    while True:
        try:
            return os.read(tokens, NUMBER.size)
        except BlockingIOError:
            waiting = select.poll()
            waiting.register(tokens, select.POLLIN)
            waiting.poll()


class _Calls:
    """The calls that were sent, in their order; reads only as far as the wanted call."""

    def __init__(self, connection: socket.socket, writer: FrameWriter) -> None:
        self._writer = writer
        self._frames = FrameReader(connection)
        self._functions: dict[int, _Function] = {}
        self._calls: collections.deque[Call] = collections.deque()

    def get(self, wanted: int) -> Call | None:
        """Return the call of that number, and drop the calls before it; None at the end of the file."""
        while True:
            while self._calls:
                call = self._calls.popleft()
                if call[0] == wanted:
                    return call
            if (frames := self._frames.read()) is None:
                return None
            for kind, number, tag, _, data, buffers in frames:
                if kind == CALL:
                    self._calls.append((number, self._functions[tag] if tag else None, data, buffers))
                    continue
                if kind == FUNCTION:
                    if len(self._functions) >= MOST_FUNCTIONS:
                        self._functions.clear()
                    self._functions[tag] = _Function(data, buffers)
                elif kind == BEAT:
                    beat = functools.partial(_beat, self._writer, tag / 1e6)
                    threading.Thread(target=beat, name="amltk-processes: heartbeat", daemon=True).start()


def _answer(
    writer: FrameWriter,
    logs: LogSender,
    number: int,
    function: _Function | None,
    data: memoryview,
    arrived: Sequence[Memory] | None,
) -> None:
    began, started = time.perf_counter(), time.time()
    buffers: list[memoryview] = []
    try:
        kind, answer = RESULT, _run(function, data, arrived, buffers)
        _leftovers.undo()  # here, so that an exception of a signal handler fails the call
    except BaseException as error:  # also SystemExit and KeyboardInterrupt: they end the call, not the worker
        buffers.clear()
        with contextlib.suppress(BaseException):  # a handler raises
            _leftovers.undo()
        _leftovers.undo()
        from amltk.remote import dump_exception  # only a call that fails pays for it

        kind, answer = ERROR, dump_exception(error, dumps_result, loads)
    for stream in (sys.stdout, sys.stderr):
        try:  # noqa: SIM105 - suppress() takes longer than to flush
            stream.flush()
        except Exception:  # noqa: S110 - the user may have closed or replaced it
            pass
    microseconds = int((time.perf_counter() - began) * 1e6)
    logs.report_dropped()
    if microseconds >= SHORT:
        writer.send(pack(ALIVE, os.getpid(), peak_memory() or 0, b""))
    writer.send(pack(kind, number, microseconds, answer, buffers, started))


def _run(
    function: _Function | None, data: memoryview, arrived: Sequence[Memory] | None, buffers: list[memoryview]
) -> bytes:
    """Return the pickled result; `buffers` gets its large buffers."""
    try:
        arrived = _check_memory(arrived)
        if function is None:
            fn, args, kwargs = loads(data, arrived)
        else:
            fn, (args, kwargs) = function.get(), loads(data, arrived)
    except BaseException as error:
        from amltk.exceptions import add_note  # only a call that fails pays for it

        add_note(error, f"Raised while the call was unpickled in worker process {os.getpid()}.")
        raise
    result = fn(*args, **kwargs)
    try:
        return dumps_result(result, buffers)
    except FAILURES as error:
        from amltk.remote import unpicklable_result  # only a call that fails pays for it

        raise unpicklable_result(error, fn, result, dumps_result) from error
