"""Checks of arguments, for us and for authors of plugins: each error names argument, value and what is allowed."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterable
from numbers import Integral, Real  # those of numpy are such numbers, too


def check_callable(name: str, value: object) -> None:
    """Refuse a `value` that cannot be called.

    Raises:
        TypeError: It cannot.
    """
    if not callable(value):
        msg = f"{name} must be callable, got {value!r} of type {type(value).__name__}."
        raise TypeError(msg)


def check_function(name: str, value: object) -> None:
    """Refuse a `value` that a worker can't call: one that can't be called, or one that would have to be awaited.

    Raises:
        TypeError: It is one of these.
    """
    check_callable(name, value)
    if _code_flags(value) & (inspect.CO_COROUTINE | inspect.CO_ASYNC_GENERATOR):
        msg = f"{name} must be an ordinary function, got {value!r}: workers have no event loop to await it."
        raise TypeError(msg)


def check_callback(name: str, value: object) -> None:
    """Refuse a `value` that can't be a callback: one that can't be called, or whose body would not run when it is.

    Raises:
        TypeError: It is one of these.
    """
    check_callable(name, value)
    if _code_flags(value) & (inspect.CO_GENERATOR | inspect.CO_ASYNC_GENERATOR):
        msg = f"{name} must be an ordinary or an 'async def' function, got {value!r}: a generator, for its 'yield'."
        raise TypeError(msg)


def signature_of(function: Callable[..., object]) -> inspect.Signature:
    """Return the signature of a function whose annotations may name what only type checkers import.

    In Python 3.14, annotations are evaluated by whoever looks at them.
    """
    if sys.version_info >= (3, 14):
        from annotationlib import Format

        return inspect.signature(function, annotation_format=Format.FORWARDREF)
    return inspect.signature(function)


def _code_flags(function: object) -> int:
    """Return what kind of function it is; cheaper than the functions of `inspect`, since it is asked for each call."""
    code = getattr(getattr(function, "__func__", function), "__code__", None)
    return getattr(code, "co_flags", 0)


def check_int(name: str, value: object, *, at_least: int, or_none: bool = False) -> None:
    """Refuse a `value` that is no integer of `at_least` so much (or None, with `or_none`).

    Raises:
        TypeError: It is no integer; True and False are none either.
        ValueError: It is too small.
    """
    if value is None and or_none:
        return
    allowed = f"an integer of at least {at_least}" + (" or None" if or_none else "")
    if isinstance(value, bool) or not isinstance(value, Integral):
        msg = f"{name} must be {allowed}, got {value!r} of type {type(value).__name__}."
        raise TypeError(msg)
    if value < at_least:
        msg = f"{name} must be {allowed}, got {value!r}."
        raise ValueError(msg)


def check_seconds(name: str, value: object, *, or_none: bool = False, zero: bool = True) -> None:
    """Refuse a `value` that is no finite number of seconds (or None, with `or_none`).

    Raises:
        TypeError: It is no number; True and False are none either.
        ValueError: It is negative, infinite, not a number, or zero where `zero` is not allowed.
    """
    if value is None and or_none:
        return
    allowed = f"a number of seconds, {'0 or more' if zero else 'more than 0'}" + (" or None" if or_none else "")
    if isinstance(value, bool) or not isinstance(value, Real):
        msg = f"{name} must be {allowed}, got {value!r} of type {type(value).__name__}."
        raise TypeError(msg)
    if not 0 <= float(value) < float("inf") or (value == 0 and not zero):
        msg = f"{name} must be {allowed}, got {value!r}."
        raise ValueError(msg)


def check_type(name: str, value: object, kind: type) -> None:
    """Refuse a `value` that is not of a type.

    Raises:
        TypeError: It is of another one.
    """
    if not isinstance(value, kind):
        allowed = "True or False" if kind is bool else f"of type {kind.__name__}"
        msg = f"{name} must be {allowed}, got {value!r} of type {type(value).__name__}."
        raise TypeError(msg)


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return " Did you mean 'x'?" for the nearest of the `known` names, or "" if none is near."""
    from difflib import get_close_matches  # only needed for an error message

    near = get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f" Did you mean '{near[0]}'?" if near else ""
