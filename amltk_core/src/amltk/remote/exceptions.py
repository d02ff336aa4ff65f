"""Exceptions that cross a process whole.

    worker:  packed = pack_exception(error)        # a plain, picklable description
    main:    error  = packed.unpack()              # the same type, arguments, attributes, notes, cause

`pickle` alone calls an exception's class with its `args`, which fails for every class whose
`__init__` takes something else, and it drops cause, context and traceback.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import platform
import traceback
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

from amltk.exceptions import RemoteError
from amltk.remote import pickling
from amltk.remote.pickling import Dumps, Loads

_REMOTE_NOTE = "Remote traceback"


@dataclass(frozen=True)
class PackedException:
    """An exception, taken apart so that every part can be pickled. Made by `pack_exception`."""

    type_name: str
    text: str
    traceback: str
    where: str
    pickled_type: bytes | None
    pickled_args: bytes | None
    pickled_state: tuple[tuple[str, bytes], ...]
    lost: tuple[str, ...]
    notes: tuple[str, ...]
    cause: PackedException | None
    context: PackedException | None
    suppress_context: bool
    members: tuple[PackedException, ...] | None

    def unpack(self, loads: Loads = pickle.loads) -> BaseException:
        """Make the exception anew; a `RemoteError` with its text where its class cannot be had here.

        The remote traceback is added as a note, so that it is printed with the exception.

        Args:
            loads: Unpickles what `dumps` of `pack_exception` made.
        """
        error = self._unpack_alone(loads)
        if self.traceback:
            error.add_note(f"{_REMOTE_NOTE} ({self.where}):\n{self.traceback.rstrip()}")
        return error

    def _unpack_alone(self, loads: Loads) -> BaseException:
        error = self._rebuild(loads)
        for note in self.notes:
            error.add_note(note)
        if self.lost:
            error.add_note(f"Could not be sent with it, so shown as text: {', '.join(self.lost)}.")
        error.__cause__ = self.cause._unpack_alone(loads) if self.cause else None
        error.__context__ = self.context._unpack_alone(loads) if self.context else None
        error.__suppress_context__ = self.suppress_context
        return error

    def _rebuild(self, loads: Loads) -> BaseException:
        try:
            if self.pickled_type is None or self.pickled_args is None:
                return RemoteError(self.text, self.type_name)
            cls = loads(self.pickled_type)
            args = loads(self.pickled_args)
            if self.members is not None:
                # An ExceptionGroup checks its members, so it can't be made of arguments alone.
                error = _new(cls, (args[0], [member._unpack_alone(loads) for member in self.members]))
            else:
                error = _new(cls, args)
                error.args = args
            for key, value in self.pickled_state:
                if key.startswith(_SLOT):
                    setattr(error, key.removeprefix(_SLOT), loads(value))
                else:
                    error.__dict__[key] = loads(value)
            str(error)  # a class may compute its text from what could not be sent
        except Exception:
            return RemoteError(self.text, self.type_name)
        return error


def _new(cls: type[BaseException], args: tuple[Any, ...]) -> BaseException:
    """Make an instance without anything of the class's own, which may ask for other arguments."""
    for base in cls.__mro__:
        if base.__module__ == "builtins":
            with contextlib.suppress(TypeError):  # of several built-in bases, one fits
                return base.__new__(cls, *args)
    raise TypeError(cls)


_SLOT = "="
# Of very long chains, so many links arrive as exceptions; the others are in the traceback's text.
_MOST_CHAINED = 100
# What the interpreter sets in C, outside of the instance's dictionary, from the constructor's arguments.
_BUILT_IN_ATTRIBUTES: tuple[tuple[type[BaseException], tuple[str, ...]], ...] = (
    (SystemExit, ("code",)),
    (StopIteration, ("value",)),
    (ImportError, ("name", "path")),
    (AttributeError, ("name",)),
    (NameError, ("name",)),
    (OSError, ("errno", "strerror", "filename", "filename2")),
    (UnicodeError, ("encoding", "object", "start", "end", "reason")),
    (SyntaxError, ("msg", "filename", "lineno", "offset", "text", "end_lineno", "end_offset", "print_file_and_line")),
)


def pack_exception(error: BaseException, dumps: Dumps = pickle.dumps, loads: Loads = pickle.loads) -> PackedException:
    """Describe `error` so that the description can be pickled, whatever the error holds.

    Args:
        error: The exception, as caught: its traceback is taken along as text.
        dumps: Pickles one value; a backend that sends classes by value passes `amltk.remote.dumps_result`.
        loads: Unpickles what `dumps` made: what does not survive both is not sent.

    Returns:
        The description. Values in it that cannot be pickled are replaced by their `repr`.
    """
    # One that comes from a process of this one already says where it was raised.
    said = any(str(note).startswith(_REMOTE_NOTE) for note in getattr(error, "__notes__", ()))
    tail = "" if said else "".join(traceback.format_exception(error))
    return _pack(error, _Pickling(dumps, loads), tail, set())


def dump_exception(error: BaseException, dumps: Dumps = pickling.dumps_result, loads: Loads = pickling.loads) -> bytes:
    """Return what `pack_exception` makes of `error`, pickled; this never raises, however odd the error is.

    Args:
        error: The exception, as caught.
        dumps: Pickles one value.
        loads: Unpickles what `dumps` made.
    """
    try:
        return dumps(pack_exception(error, dumps, loads))
    except BaseException as failure:  # not even a description of it can be had
        return dumps(pack_exception(RuntimeError(f"{type(error).__qualname__}, which cannot be sent: {failure!r}")))


def load_exception(data: bytes | memoryview) -> BaseException:
    """Return the exception of which `dump_exception` made `data`; this never raises, but returns what was raised."""
    try:
        packed: PackedException = pickling.loads(data)
        return packed.unpack(pickling.loads)
    except BaseException as error:
        error.add_note("Raised while the exception of a call was unpickled in the main process.")
        return error


class _Pickling(NamedTuple):
    dumps: Dumps
    loads: Loads


def _pack(error: BaseException, pickling: _Pickling, formatted: str, seen: set[int]) -> PackedException:
    seen.add(id(error))
    lost: list[str] = []

    def chained(other: BaseException | None) -> PackedException | None:
        if other is None or id(other) in seen or len(seen) > _MOST_CHAINED:
            return None
        return _pack(other, pickling, "", seen)

    members = None
    args: tuple[Any, ...] = error.args
    if isinstance(error, BaseExceptionGroup):
        members = tuple(_pack(member, pickling, "", seen) for member in error.exceptions)
        args = (error.message,)
    state = [(key, value) for key, value in vars(error).items() if key != "__notes__"]
    for kind, names in _BUILT_IN_ATTRIBUTES:
        if isinstance(error, kind):
            state += _existing(error, names)
    for cls in type(error).__mro__:
        slots = vars(cls).get("__slots__", ())
        state += _existing(error, (slots,) if isinstance(slots, str) else slots)
    return PackedException(
        type_name=f"{type(error).__module__}.{type(error).__qualname__}".removeprefix("builtins."),
        text=_text(error),
        traceback=formatted,
        where=f"process {os.getpid()} on {platform.node()}" if formatted else "",
        pickled_type=_dump_or_none(type(error), pickling),
        pickled_args=pickling.dumps(
            tuple(_sendable(f"args[{index}]", value, pickling, lost) for index, value in enumerate(args))
        ),
        pickled_state=tuple(
            (key, pickling.dumps(_sendable(key.removeprefix(_SLOT), value, pickling, lost))) for key, value in state
        ),
        lost=tuple(lost),
        notes=tuple(str(note) for note in getattr(error, "__notes__", ())),
        cause=chained(error.__cause__),
        context=chained(error.__context__),
        suppress_context=error.__suppress_context__,
        members=members,
    )


def _existing(error: BaseException, names: Iterable[str]) -> list[tuple[str, Any]]:
    found = ((name, getattr(error, name, None)) for name in names)
    return [(_SLOT + name, value) for name, value in found if value is not None]


def _text(error: BaseException) -> str:
    try:
        return str(error)
    except Exception as failure:  # an exception whose own __str__ raises
        return f"<its text cannot be had: {type(failure).__name__}>"


def _dump_or_none(value: object, pickling: _Pickling) -> bytes | None:
    try:
        data = pickling.dumps(value)
        pickling.loads(data)
    except Exception:
        return None
    return data


def _sendable(name: str, value: object, pickling: _Pickling, lost: list[str]) -> object:
    """Return `value` if it survives pickling both ways, else its repr; what was replaced is put into `lost`."""
    if _dump_or_none(value, pickling) is not None:
        return value
    lost.append(name)
    try:
        return repr(value)
    except Exception:  # a repr of the user's may raise anything
        return f"<{type(value).__name__}>"
