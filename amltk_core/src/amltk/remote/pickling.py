"""Pickling by value, and which part it is that can't be pickled."""

from __future__ import annotations

import functools
import pickle
from collections.abc import Callable, Iterator, Mapping
from types import CellType, FunctionType
from typing import Any

from amltk.calls import name_of
from amltk.checks import is_unawaited, unawaited_result

Dumps = Callable[[Any], bytes]
Loads = Callable[[bytes], Any]


def dumps(value: object, buffer_callback: Callable[[Any], Any] | None = None) -> bytes:
    """Pickle what a call needs, for a worker. What lives in the script travels by value.

    Functions and classes of `__main__`, lambdas and closures need not be importable there. All that is of one script
    lives in one module `__main__` in the worker, so its functions share their globals.

    Args:
        value: What is pickled.
        buffer_callback: As of `pickle.dumps`.

    Raises:
        ModuleNotFoundError: cloudpickle is not installed.
        pickle.PicklingError: Something in `value` can't be pickled.
    """
    return _dump_by_value()(value, buffer_callback, to_worker=True)


def dumps_result(value: object, buffer_callback: Callable[[Any], Any] | None = None) -> bytes:
    """Pickle what a call returns or raises, for the program. Functions take along the globals that they have here.

    Args:
        value: What is pickled.
        buffer_callback: As of `pickle.dumps`.

    Raises:
        ModuleNotFoundError: cloudpickle is not installed.
        pickle.PicklingError: Something in `value` can't be pickled.
    """
    return _dump_by_value()(value, buffer_callback, to_worker=False)


def _dump_by_value() -> Callable[..., bytes]:
    try:
        from amltk.remote.by_value import dump  # cloudpickle takes long to import
    except ModuleNotFoundError as error:
        error.add_note("To send functions by value, amltk needs cloudpickle: pip install 'cloudpickle>=3.0'")
        raise
    return dump


# Pickles of `dumps` need nothing else; classes that are here are left as they are.
loads = pickle.loads


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
