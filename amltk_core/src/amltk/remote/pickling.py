"""Pickling, told what can't be pickled, and classes that come back left as they are."""

from __future__ import annotations

import functools
import io
import pickle
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import CellType, FunctionType
from typing import Any

from amltk.calls import name_of
from amltk.checks import is_unawaited, unawaited_result

Dumps = Callable[[Any], bytes]
Loads = Callable[[bytes], Any]


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
    if is_unawaited(result):
        return unawaited_result(name_of(fn), result)
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
