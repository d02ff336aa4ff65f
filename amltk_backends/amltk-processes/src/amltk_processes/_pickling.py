"""Pickling for workers: with pickle where that works, and with cloudpickle where an object must travel by value.

A worker does not import the user's script. So objects of `__main__` and objects without an importable name travel by
value, and pickle handles the rest.
"""

from __future__ import annotations

import functools
import io
import itertools
import pickle
from collections.abc import Callable, Mapping, Sequence
from types import FunctionType
from weakref import WeakKeyDictionary

from amltk_processes._frames import CHUNK, Memory

TYPE_CHECKING = False  # each start would wait for `typing` to be imported
if TYPE_CHECKING:
    from typing import Any

_PROTOCOL = 5
# Exceptions that an object may raise while it is pickled, and that fail only its call. Ctrl-C is none of them.
FAILURES = (Exception, SystemExit)
# Bytes to copy at once: copying holds the interpreter's lock, for 300 MB a fifth of a second and more.
_AT_ONCE = 1 << 23


def dumps(value: object, buffers: list[memoryview] | None = None) -> bytes:
    """Pickle `value` for a worker; functions and classes of `__main__`, lambdas and closures by value.

    Args:
        value: The object to pickle.
        buffers: Gets the large buffers of arrays and the like, uncopied; None copies them into the pickle.
    """
    return _dumps(value, buffers, result=False)


def dumps_result(value: object, buffers: list[memoryview] | None = None) -> bytes:
    """Do what `dumps` does, in a worker for the program."""
    return _dumps(value, buffers, result=True)


def _dumps(value: object, buffers: list[memoryview] | None, *, result: bool) -> bytes:
    apart = None if buffers is None else functools.partial(_take_apart, buffers)
    try:
        data = pickle.dumps(value, _PROTOCOL, buffer_callback=apart)
        if b"__main__" not in data:
            return data
    except Exception:  # noqa: S110 - cloudpickle can pickle more, and its error tells the rest
        pass
    if buffers is not None:
        buffers.clear()
    from amltk import remote  # imported late, or else the start of every pool would take longer

    return (remote.dumps_result if result else remote.dumps)(value, apart)


def _take_apart(buffers: list[memoryview], buffer: pickle.PickleBuffer) -> bool:
    memory = buffer.raw()
    if memory.nbytes < CHUNK:
        return True  # pickle keeps it
    buffers.append(memory)
    return False


class Function:
    """A pickled function, and the number under which workers keep it."""

    __slots__ = ("data", "number")

    def __init__(self, number: int, data: bytes) -> None:
        self.number = number
        self.data = data


IN_THE_CALL = Function(0, b"")


class CallPickler:
    """Pickles calls for one executor, and each plain function only once.

    A function that travels by value takes along the globals that it uses, as they are at its first call. Functions of
    one script share their globals in a worker. A later change of a global arrives with the next function that uses it.
    Callables whose state may change between calls (`partial`, bound methods, callable objects) are pickled each time.
    """

    def __init__(self) -> None:
        """Start without functions."""
        self._functions: WeakKeyDictionary[FunctionType, Function] = WeakKeyDictionary()
        self._numbers = itertools.count(1)

    def pickle(
        self, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> tuple[Function, bytes, Sequence[Memory]]:
        """Return the function, the call's data, and copies of its buffers, so that the caller may change the originals.

        Raises:
            pickle.PicklingError: A part of the call can't be pickled; the message names it.
            Exception: Any exception of the user's `__reduce__` or `__getstate__`; also SystemExit.
        """
        buffers: list[memoryview] = []
        try:
            if type(fn) is not FunctionType:
                function, data = IN_THE_CALL, dumps((fn, args, kwargs), buffers)
            else:
                known = self._functions.get(fn)
                function = known or self._functions.setdefault(fn, Function(next(self._numbers), dumps(fn)))
                data = dumps((args, kwargs), buffers)
            return function, data, [bytes(buffer) for buffer in buffers]
        except FAILURES as error:
            from amltk.remote import unpicklable_call  # only a call that fails pays for it

            raise unpicklable_call(error, fn, args, kwargs, dumps) from error


def loads(data: bytes | memoryview, buffers: Sequence[Memory] = ()) -> Any:
    """Unpickle what `dumps` made in another process; classes that exist in this process are left as they are."""
    if len(data) > _AT_ONCE:
        return pickle.load(io.BufferedReader(_InPieces(data), CHUNK), buffers=buffers)
    return pickle.loads(data, buffers=buffers)


class _InPieces(io.RawIOBase):
    """Reads from memory as from a file, in pieces, so that other threads get the interpreter's lock in between."""

    def __init__(self, data: bytes | memoryview) -> None:
        self._rest = memoryview(data)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        size = min(len(buffer), len(self._rest), _AT_ONCE)
        buffer[:size] = self._rest[:size]
        self._rest = self._rest[size:]
        return size
