"""What a worker does: it takes a token, runs the call of that number, sends the result, and again.

It runs calls in its main thread, so that they may set signal handlers and time limits.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

from amltk_processes._frames import (
    ALIVE,
    CALL,
    CHUNK,
    ERROR,
    FUNCTION,
    HEADER,
    MOST_FUNCTIONS,
    NUMBER,
    RESULT,
    FrameReader,
)
from amltk_processes._pickling import describe_unpicklable, dumps, loads, name_of, unpicklable


class _Function:
    """A function as it came, unpickled by the first call that needs it, so that a failure is that call's."""

    def __init__(self, data: memoryview) -> None:
        self._data: memoryview | None = data
        self._function: Callable[..., Any]

    def get(self) -> Callable[..., Any]:
        if self._data is not None:
            self._function = loads(self._data)
            self._data = None
        return self._function


Call = tuple[int, _Function | None, memoryview]


def work(connection: socket.socket, tokens: int) -> None:
    """Run calls until the main process closes its ends, or is gone.

    Args:
        connection: Where calls come from and results go to.
        tokens: The end to read from of the pipe of tokens. Whoever reads the number of a call from
            it has that call: this process, to run it, or the main process, to give it to another.
    """

    def let_go() -> None:
        connection.close()
        os.close(tokens)

    # What a call forks must not keep these open when we die, nor come back here as a second worker.
    os.register_at_fork(after_in_child=let_go)
    calls = _calls(connection)
    with contextlib.suppress(ConnectionError):  # the main process is gone
        connection.sendall(HEADER.pack(ALIVE, 0, 0, 0))
        while token := _next_token(tokens):
            number = NUMBER.unpack(token)[0]
            # Calls whose token somebody else has taken are passed over.
            call = next((call for call in calls if call[0] == number), None)
            if call is None:
                return
            _answer(connection, *call)


def run_initializer(initializer: Callable[..., object], initargs: tuple[Any, ...]) -> None:
    """Call it, and drop what it returns, which need not be picklable."""
    initializer(*initargs)


def _next_token(tokens: int) -> bytes:
    # Both ends of a pipe's readers share one "non-blocking" flag, and the main process needs it set.
    while True:
        try:
            return os.read(tokens, NUMBER.size)
        except BlockingIOError:
            waiting = select.poll()
            waiting.register(tokens, select.POLLIN)
            waiting.poll()


def _calls(connection: socket.socket) -> Iterator[Call]:
    frames = FrameReader()
    functions: dict[int, _Function] = {}
    while received := connection.recv(CHUNK):
        for kind, number, tag, data in frames.feed(received):
            if kind == FUNCTION:
                if len(functions) >= MOST_FUNCTIONS:
                    functions.clear()
                functions[tag] = _Function(data)
            elif kind == CALL:
                yield number, functions[tag] if tag else None, data


def _answer(connection: socket.socket, number: int, function: _Function | None, data: memoryview) -> None:
    started = time.perf_counter()
    try:
        kind, answer = RESULT, _run(function, data)
    except BaseException as error:  # also SystemExit and KeyboardInterrupt: it is the call that ends, not we
        kind, answer = ERROR, _pack(error)
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):  # the user may have closed or replaced it
            stream.flush()
    microseconds = int((time.perf_counter() - started) * 1e6)
    header = HEADER.pack(kind, number, microseconds, len(answer))
    if len(answer) < CHUNK:
        connection.sendall(header + answer)
    else:
        connection.sendall(header)
        connection.sendall(answer)


def _run(function: _Function | None, data: memoryview) -> bytes:
    try:
        if function is None:
            fn, args, kwargs = loads(data)
        else:
            fn, (args, kwargs) = function.get(), loads(data)
    except BaseException as error:
        error.add_note(f"Raised while the call was unpickled in worker process {os.getpid()}.")
        raise
    result = fn(*args, **kwargs)
    try:
        return dumps(result)
    except Exception as error:
        culprit = describe_unpicklable("result", result)
        raise unpicklable(error, f"what {name_of(fn)} returned, at {culprit}") from error


def _pack(error: BaseException) -> bytes:
    from amltk.remote import pack_exception  # only a call that fails pays for it

    try:
        return dumps(pack_exception(error, dumps, loads))
    except BaseException as failure:  # an error so odd that not even its description can be had
        return dumps(pack_exception(RuntimeError(f"{type(error).__qualname__}, which cannot be sent: {failure!r}")))
