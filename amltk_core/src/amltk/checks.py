"""Checks of arguments, for the core and plugins: each error names the argument, its value and the allowed values."""

from __future__ import annotations

import functools
import inspect
import os
import re
import sys
from collections.abc import Callable, Iterable, Mapping
from numbers import Integral, Real  # numpy's numbers are registered, too
from types import AsyncGeneratorType, CoroutineType, FunctionType, MethodType
from typing import Any

from amltk.describe import describe_option
from amltk.exceptions import NotSupportedError

_CACHE = type(functools.lru_cache(len))


def check_callable(name: str, value: object) -> None:
    """Check that `value` can be called.

    Raises:
        TypeError: It cannot be called.
    """
    if not callable(value):
        msg = f"{name} must be callable, got {describe_option(name, value)} of type {type(value).__name__}."
        raise TypeError(msg)


def check_function(name: str, value: object) -> None:
    """Check that a worker can call `value`, which must not be an `async def` function.

    Raises:
        TypeError: It cannot be called, or the result would have to be awaited.
    """
    check_callable(name, value)
    if _code_flags(value) & (inspect.CO_COROUTINE | inspect.CO_ASYNC_GENERATOR):
        msg = f"{name} must be an ordinary function, got {describe_option(name, value)}: {_NO_LOOP}"
        raise TypeError(msg)


_NO_LOOP = (
    "workers have no event loop to await it. "
    "Give an ordinary function that runs one: def work(x): return asyncio.run(function(x))."
)


def is_unawaited(result: object) -> bool:
    """Return whether the result of a function is a coroutine or an async generator, which nothing awaits."""
    kind = type(result)
    return kind is CoroutineType or kind is AsyncGeneratorType


def unawaited_result(name: str, result: Any) -> TypeError:
    """Return the error of a call whose result `is_unawaited`.

    Nothing complains afterwards that a coroutine was never awaited.
    """
    if isinstance(result, CoroutineType):
        result.close()
        return TypeError(f"{name} returned a coroutine, which has not run: {_NO_LOOP}")
    return TypeError(f"{name} returned an async generator, which has not run: {_NO_LOOP}")


def check_callback(name: str, value: object) -> None:
    """Check that `value` can be a callback, which must not be a generator function.

    Raises:
        TypeError: It cannot be called, or calling it would not run its body.
    """
    check_callable(name, value)
    if _code_flags(value) & (inspect.CO_GENERATOR | inspect.CO_ASYNC_GENERATOR):
        got = describe_option(name, value)
        msg = f"{name} must be an ordinary or an 'async def' function, got {got}: a generator, for its 'yield'."
        raise TypeError(msg)


def signature_of(function: Callable[..., object]) -> inspect.Signature:
    """Return the signature of a function, whose annotations may name what only type checkers import.

    From Python 3.14 on, reading annotations evaluates them.
    """
    if sys.version_info >= (3, 14):
        from annotationlib import Format

        return inspect.signature(function, annotation_format=Format.FORWARDREF)
    return inspect.signature(function)


def _code_flags(function: Any) -> int:
    """Return the code flags of a function; cheaper than `inspect`, since each call is checked."""
    if type(function) is not FunctionType:
        function = _innermost(function)
    code = getattr(function, "__code__", None)
    return getattr(code, "co_flags", 0)


def _innermost(function: Any) -> Any:
    """Return the function whose body runs in a call.

    For a decorated function that is the wrapper: it may run the coroutine of the function that it wraps.
    """
    while not hasattr(function, "__code__"):  # functions of Cython have it, too
        if isinstance(function, functools.partial):
            function = function.func
        elif isinstance(function, MethodType):
            function = function.__func__
        elif isinstance(function, _CACHE):
            function = function.__wrapped__
        else:
            call = getattr(type(function), "__call__", None)  # noqa: B004 - it is looked at
            if not isinstance(call, (FunctionType, MethodType, functools.partial)):
                break  # in C
            function = call
    return function


def check_int(name: str, value: object, *, at_least: int, or_none: bool = False) -> None:
    """Check that `value` is an integer of at least `at_least` (or None, with `or_none`).

    Raises:
        TypeError: It is no integer; True and False are refused, too.
        ValueError: It is too small, or does not fit into 64 bits: libraries and the system take no larger ones.
    """
    if value is None and or_none:
        return
    allowed = f"an integer of at least {at_least}" + (" or None" if or_none else "")
    if isinstance(value, bool) or not isinstance(value, Integral):
        msg = f"{name} must be {allowed}, got {describe_option(name, value)} of type {type(value).__name__}."
        raise TypeError(msg)
    if value < at_least:
        msg = f"{name} must be {allowed}, got {describe_option(name, value)}."
        raise ValueError(msg)
    if not value <= MOST_INT:
        msg = f"{name} must be below 2**63, got {describe_option(name, value)}."
        raise ValueError(msg)


MOST_INT = 2**63 - 1
"""The largest integer that an option may have: 64 bits."""

MOST_SECONDS = 1e9
"""The largest number of seconds, about 30 years: clocks and system calls refuse much more."""

LEAST_HEARTBEAT = 0.5
"""The smallest heartbeat timeout, in seconds: with less, live workers of a busy machine would count as lost."""


def check_heartbeat(name: str, value: object) -> None:
    """Check that `value` is a heartbeat timeout in seconds, or None.

    Raises:
        TypeError: It is no number.
        ValueError: It is below 0.5, or no finite number.
    """
    check_seconds(name, value, or_none=True, zero=False)
    if value is not None and value < LEAST_HEARTBEAT:  # type: ignore[operator] # it is a number
        got = describe_option(name, value)
        msg = f"{name} must be at least {LEAST_HEARTBEAT} seconds, got {got}: a busy worker would be ended."
        raise ValueError(msg)


def check_seconds(name: str, value: object, *, or_none: bool = False, zero: bool = True) -> None:
    """Check that `value` is a finite number of seconds (or None, with `or_none`).

    Raises:
        TypeError: It is no number; True and False are refused, too.
        ValueError: It is negative, infinite, not a number, or zero where `zero` is not allowed.
    """
    if value is None and or_none:
        return
    allowed = f"a number of seconds, {'0 or more' if zero else 'more than 0'}" + (" or None" if or_none else "")
    if isinstance(value, bool) or not isinstance(value, Real):
        msg = f"{name} must be {allowed}, got {describe_option(name, value)} of type {type(value).__name__}."
        raise TypeError(msg)
    number: Any = value  # float() of a very large integer raises
    if not 0 <= number < float("inf") or (value == 0 and not zero):
        msg = f"{name} must be {allowed}, got {describe_option(name, value)}."
        raise ValueError(msg)
    if number > MOST_SECONDS:
        msg = f"{name} must be at most {MOST_SECONDS:g} seconds, got {describe_option(name, value)}; None is no limit."
        raise ValueError(msg)


MOST_CHARACTERS = 100_000
"""The most characters of a text: Linux limits an argument of a command to 128 KiB."""

# Control characters, separators of lines and paragraphs, and surrogates, which can't be encoded.
_NOT_IN_ONE_LINE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


def check_text(name: str, value: object, *, or_none: bool = False, empty: bool = True) -> None:
    """Check that `value` is a string of one line (or None, with `or_none`).

    Raises:
        TypeError: It is no string.
        ValueError: It has line breaks or other control characters, is very long, or is blank where `empty` is False.
    """
    if value is None and or_none:
        return
    check_type(name, value, str)
    assert isinstance(value, str)
    if _NOT_IN_ONE_LINE.search(value):
        msg = f"{name} must be text of one line, without control characters, got {describe_option(name, value)}."
        raise ValueError(msg)
    if len(value) > MOST_CHARACTERS:
        msg = f"{name} must have at most {MOST_CHARACTERS} characters, got {len(value)}."
        raise ValueError(msg)
    if not empty and not value.strip():
        msg = f"{name} must not be empty, got {describe_option(name, value)}."
        raise ValueError(msg)


def check_mapping(name: str, value: object, *, or_none: bool = True) -> None:
    """Check that `value` is a mapping from strings (or None, with `or_none`).

    Raises:
        TypeError: It is no mapping, or one of its keys is no string.
        ValueError: One of its keys has control characters, or is empty.
    """
    if value is None and or_none:
        return
    check_type(name, value, Mapping)
    keys: Iterable[object] = value  # type: ignore[assignment] # it is a mapping
    for key in keys:
        check_text(f"each key of {name}", key, empty=False)


def check_type(name: str, value: object, kind: type) -> None:
    """Check that `value` is of a type.

    Raises:
        TypeError: It is of another type.
    """
    if not isinstance(value, kind):
        allowed = "True or False" if kind is bool else f"of type {kind.__name__}"
        msg = f"{name} must be {allowed}, got {describe_option(name, value)} of type {type(value).__name__}."
        raise TypeError(msg)


def check_not_patched(name: str, *modules: str) -> None:
    """Check that gevent has not replaced modules without which something hangs or fails.

    Args:
        name: The name of what is about to start, as in `"with_loky"`.
        modules: The modules that it needs unpatched, as in `"threading"`.

    Raises:
        NotSupportedError: gevent has replaced one of them.
    """
    monkey = sys.modules.get("gevent.monkey")
    patched = [module for module in modules if monkey is not None and monkey.is_module_patched(module)]
    if patched:
        msg = (
            f"{name} can't run where gevent.monkey has replaced {', '.join(patched)}. Use with_processes or "
            "with_threads, which can, or start the scheduler in a process that is not patched."
        )
        raise NotSupportedError(msg)


def check_current_directory(name: str) -> None:
    """Check that the program's current directory exists.

    Args:
        name: The name of what is about to start, as in `"with_ray"`.

    Raises:
        FileNotFoundError: The directory has been deleted.
    """
    try:
        os.getcwd()  # noqa: PTH109 - pathlib takes long to import
    except FileNotFoundError as error:
        text = f"{name} needs the program's current directory, which has been deleted. Change to one that exists, with"
        raise FileNotFoundError(error.errno, f"{error.strerror}: {text} os.chdir(), before the run.") from error


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return " Did you mean 'x'?" for the nearest of the `known` names, or "" if none is near."""
    from difflib import get_close_matches  # only needed for an error message

    near = get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f" Did you mean '{near[0]}'?" if near else ""
