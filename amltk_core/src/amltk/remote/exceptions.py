"""Exceptions sent to another process without losing anything.

    worker:  packed = pack_exception(error)        # a plain, picklable description
    main:    error  = packed.unpack()              # the same type, arguments, attributes, notes, cause

`pickle` alone calls an exception's class with its `args`, which fails for every class whose `__init__` takes other
arguments. It also drops slots, cause, context and traceback.
"""

from __future__ import annotations

import os
import pickle
import platform
import traceback
from dataclasses import dataclass

from amltk.describe import describe_value
from amltk.exceptions import RemoteError, add_note, attributes_of, notes_of, part_of, text_of
from amltk.remote import pickling
from amltk.remote.pickling import Dumps, Loads
from amltk.remote.rebuilding import Pickling, made, recipe_of, set_attribute

_REMOTE_NOTE = "Remote traceback"


@dataclass(frozen=True)
class PackedException:
    """An exception, taken apart into parts that can be pickled. Made by `pack_exception`."""

    type_name: str
    text: str
    traceback: str
    where: str
    recipe: bytes | None
    lost: tuple[str, ...]
    notes: tuple[str, ...]
    cause: PackedException | None
    context: PackedException | None
    suppress_context: bool
    members: tuple[PackedException, ...]

    def unpack(self, loads: Loads = pickle.loads) -> BaseException:
        """Rebuild the exception; return a `RemoteError` with its text where its class is not available.

        The remote traceback is added as a note, so that it is printed with the exception.

        Args:
            loads: Unpickles the bytes that `dumps` of `pack_exception` made.
        """
        error = self._unpack_alone(loads)
        if self.traceback:
            add_note(error, f"{_REMOTE_NOTE} ({self.where}):\n{self.traceback.rstrip()}")
        return error

    def _unpack_alone(self, loads: Loads) -> BaseException:
        error = self._rebuild(loads)
        attributes_of(error).pop("__notes__", None)
        for note in self.notes:
            add_note(error, note)
        if self.lost:
            add_note(error, f"Could not be sent with it, so shown as text: {', '.join(self.lost)}.")
        set_attribute(error, "__cause__", self.cause._unpack_alone(loads) if self.cause else None)
        set_attribute(error, "__context__", self.context._unpack_alone(loads) if self.context else None)
        set_attribute(error, "__suppress_context__", self.suppress_context)
        return error

    def _rebuild(self, loads: Loads) -> BaseException:
        try:
            if self.recipe is not None:
                return made(loads(self.recipe), [member._unpack_alone(loads) for member in self.members], self.text)
        except (Exception, SystemExit):  # noqa: S110 - the class is missing here, or its constructor refuses
            pass
        return RemoteError(self.text, self.type_name)


# Limit on chained exceptions sent as exceptions; the traceback's text has the others.
_MOST_CHAINED = 100


def pack_exception(error: BaseException, dumps: Dumps = pickle.dumps, loads: Loads = pickle.loads) -> PackedException:
    """Describe `error` so that the description can be pickled, whatever `error` holds.

    Args:
        error: The exception, as caught: its traceback is sent as text.
        dumps: Pickles one value; a backend that sends classes by value passes `amltk.remote.dumps_result`.
        loads: Unpickles it: a value that does not survive both is not sent.

    Returns:
        The description. Values in it that cannot be pickled are replaced by text.
    """
    # An exception from a child process of this one already has its traceback.
    has_traceback = any(note.startswith(_REMOTE_NOTE) for note in notes_of(error))
    tail = "" if has_traceback else _formatted(error)
    return _pack(error, Pickling(dumps, loads), tail, set())


def dump_exception(error: BaseException, dumps: Dumps = pickling.dumps_result, loads: Loads = pickling.loads) -> bytes:
    """Return the pickled `pack_exception` of `error`; this never raises, however odd the error is.

    Args:
        error: The exception, as caught.
        dumps: Pickles one value.
        loads: Unpickles it.
    """
    try:
        return dumps(pack_exception(error, dumps, loads))
    except BaseException as failure:  # even a description of it fails
        text = f"{type(error).__qualname__}, which cannot be sent: {describe_value(failure)}"
        return dumps(pack_exception(RuntimeError(text)))


def load_exception(data: bytes | memoryview) -> BaseException:
    """Return the exception that `dump_exception` pickled; this never raises, but returns an error of unpickling."""
    try:
        packed: PackedException = pickling.loads(data)
        return packed.unpack(pickling.loads)
    except BaseException as error:
        add_note(error, "Raised while the exception of a call was unpickled in the main process.")
        return error


def _pack(error: BaseException, pickling: Pickling, formatted: str, seen: set[int]) -> PackedException:
    seen.add(id(error))

    def chained(other: BaseException | None) -> PackedException | None:
        if other is None or id(other) in seen or len(seen) > _MOST_CHAINED:
            return None
        return _pack(other, pickling, "", seen)

    members = error.exceptions if isinstance(error, BaseExceptionGroup) else ()
    recipe, lost = recipe_of(error, members, pickling)
    return PackedException(
        type_name=f"{type(error).__module__}.{type(error).__qualname__}".removeprefix("builtins."),
        text=text_of(error),
        traceback=formatted,
        where=f"process {os.getpid()} on {platform.node()}" if formatted else "",
        recipe=recipe,
        lost=lost,
        notes=notes_of(error),
        cause=chained(part_of(error, "__cause__")),
        context=chained(part_of(error, "__context__")),
        suppress_context=part_of(error, "__suppress_context__"),
        members=tuple(_pack(member, pickling, "", seen) for member in members),
    )


def _formatted(error: BaseException) -> str:
    try:
        return "".join(traceback.format_exception(error))
    except Exception:  # an attribute of the user's class raises
        return "".join(
            [*traceback.format_tb(part_of(error, "__traceback__")), f"{type(error).__qualname__}: {text_of(error)}"]
        )
