"""What authors of backends need to get a call's outcome back from another process, whole, or told what can't cross.

    worker:  packed = pack_exception(error)        # a plain, picklable description
    main:    error  = packed.unpack()              # the same type, arguments, attributes, notes, cause

`pickle` alone calls an exception's class with its `args`, which fails for every class whose
`__init__` takes something else, and it drops cause, context and traceback. And `pickle.loads` of
what cloudpickle sent by value changes the classes of the process that they come back to; `loads` does not.
"""

from __future__ import annotations

import contextlib
import functools
import io
import os
import pickle
import platform
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from types import CellType, FunctionType
from typing import Any, NamedTuple

from amltk.calls import name_of
from amltk.exceptions import RemoteError

Dumps = Callable[[Any], bytes]
Loads = Callable[[bytes], Any]

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
        dumps: Pickles one value; a backend that sends classes by value passes `cloudpickle.dumps`.
        loads: Unpickles what `dumps` made: what does not survive both is not sent.

    Returns:
        The description. Values in it that cannot be pickled are replaced by their `repr`.
    """
    # One that comes from a process of this one already says where it was raised.
    said = any(str(note).startswith(_REMOTE_NOTE) for note in getattr(error, "__notes__", ()))
    tail = "" if said else "".join(traceback.format_exception(error))
    return _pack(error, _Pickling(dumps, loads), tail, set())


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


def loads(data: bytes | bytearray | memoryview, buffers: Iterable[Any] | None = None) -> Any:
    """Unpickle what another process made with `pickle` or cloudpickle, and leave this process's classes as they are.

    Args:
        data: The pickle.
        buffers: What pickle's `buffer_callback` was given there, as for `pickle.loads`.
    """
    return _Unpickler(io.BytesIO(data), buffers=buffers).load()


class _Unpickler(pickle.Unpickler):
    """Does not change classes that are there.

    A class by value comes back as the very class that was sent. But cloudpickle then sets its
    attributes anew, to copies of its methods which have globals of their own.
    """

    def find_class(self, module: str, name: str) -> Any:
        found = super().find_class(module, name)
        if name == "_class_setstate" and module == "cloudpickle.cloudpickle":
            return functools.partial(_set_what_is_missing, found)
        return found


# A class that is just being made has these too, but not as they should be.
_ALWAYS_SET = ("__doc__", "__abstractmethods__", "_abc_impl")


def _set_what_is_missing(setstate: Callable[[Any, Any], Any], cls: type, state: tuple[dict[str, Any], Any]) -> Any:
    attributes, rest = state
    missing = {key: value for key, value in attributes.items() if key in _ALWAYS_SET or key not in vars(cls)}
    return setstate(cls, (missing, rest))


def unpicklable_call(
    error: BaseException,
    fn: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    dumps: Callable[[Any], object],
) -> BaseException:
    """Return the error to raise where a call could not be pickled.

    Args:
        error: What was raised.
        fn: What was to be called.
        args: Its positional arguments.
        kwargs: Its keyword arguments.
        dumps: Pickles one value.

    Returns:
        Where pickle complained, one that names the part that is to blame and what to do instead;
        where code of the user's raised, that error itself, with a note.
    """
    parts = ((name_of(fn), fn), ("args", args), ("kwargs", kwargs))
    where = next((path for name, part in parts if (path := _culprit(name, part, dumps))), "it")
    instead = "Let the function make it, from what can be pickled: a path, say, instead of an open file."
    return _unpicklable(error, f"{where} in a call of {name_of(fn)}", instead)


def unpicklable_result(
    error: BaseException, fn: Callable[..., Any], result: object, dumps: Callable[[Any], object]
) -> BaseException:
    """Do as `unpicklable_call` does, where what `fn` returned could not be pickled."""
    where = _culprit("result", result, dumps) or "result"
    instead = "Let it return what can be pickled, and write the rest to a file."
    return _unpicklable(error, f"what {name_of(fn)} returned, at {where}", instead)


def _unpicklable(error: BaseException, what: str, instead: str) -> BaseException:
    if isinstance(error, (pickle.PicklingError, TypeError, AttributeError, RecursionError)):
        return pickle.PicklingError(f"Cannot pickle {what}: {error}. {instead}")
    error.add_note(f"Raised while {what} was pickled.")
    return error


def _culprit(name: str, value: object, dumps: Callable[[Any], object], depth: int = 8) -> str | None:
    """Return the path from `name` to the innermost part of `value` that can't be pickled, with its type."""
    try:
        dumps(value)
    except (Exception, SystemExit):  # whatever the user's own __reduce__ raises
        parts = _parts(name, value) if depth else ()
        deeper = (_culprit(path, part, dumps, depth - 1) for path, part in parts)
        return next(filter(None, deeper), f"{name} (of type {type(value).__qualname__})")
    return None


def _parts(name: str, value: object) -> Iterator[tuple[str, object]]:
    if isinstance(value, Mapping):
        yield from ((f"{name}[{key!r}]", part) for key, part in value.items())
    elif isinstance(value, (list, tuple)):
        yield from ((f"{name}[{index}]", part) for index, part in enumerate(value))
    elif isinstance(value, FunctionType):
        cells: tuple[CellType, ...] = value.__closure__ or ()
        yield from (
            (f"{name}:{var}", cell.cell_contents) for var, cell in zip(value.__code__.co_freevars, cells, strict=True)
        )
        known = value.__globals__
        yield from ((f"{name}:{var}", known[var]) for var in value.__code__.co_names if var in known)
    elif isinstance(value, functools.partial):
        yield from ((f"{name}.{part}", getattr(value, part)) for part in ("func", "args", "keywords"))
    else:
        yield from ((f"{name}.{attribute}", part) for attribute, part in getattr(value, "__dict__", {}).items())
