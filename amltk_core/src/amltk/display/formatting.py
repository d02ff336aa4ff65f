"""Short texts for names, calls and values.

Values of users may be huge, or have a `repr` that is slow or raises, and names may contain anything. So simple
values are shown as they are, others by the name of their type.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from enum import Enum
from itertools import islice
from numbers import Number
from pathlib import PurePath
from typing import Any

from amltk import describe
from amltk.scheduling.call_future import CallFuture

MAX_NAME = 60
MAX_VALUE = 24
MAX_ITEMS = 3
MAX_DEPTH = 2

_BRACKETS: Mapping[type, tuple[str, str]] = {
    list: ("[", "]"),
    tuple: ("(", ")"),
    set: ("{", "}"),
    frozenset: ("frozenset({", "})"),
}


def clip(text: str, width: int) -> str:
    """Return `text` as one line of at most `width` characters, without control characters."""
    if len(text) > width:
        text = text[: width - 1] + "…"
    return text if text.isprintable() else repr(text)[1:-1]


def name_of(function: object) -> str:
    """Return the name of a function, without its enclosing functions."""
    return short_name(describe.name_of(function))


def short_name(name: str) -> str:
    """Return a qualified name without its enclosing functions, clipped."""
    return clip(name.rpartition("<locals>.")[2], MAX_NAME)


def short(value: Any, depth: int = 0) -> str:
    """Return a short text of a value: the value itself if it is simple, else the name of its type."""
    try:
        return _short(value, depth)
    except Exception:  # a `repr` of a user's class
        return type(value).__qualname__


def _short(value: Any, depth: int) -> str:
    if isinstance(value, str | bytes):
        return repr(value) if len(value) <= MAX_VALUE else repr(value[: MAX_VALUE - 1]) + "…"
    if value is None or isinstance(value, Number | Enum | PurePath):
        return clip(str(value), MAX_VALUE)
    if type(value) in _BRACKETS or type(value) is dict:
        opening, closing = _BRACKETS.get(type(value), ("{", "}"))
        if depth == MAX_DEPTH and value:
            return f"{opening}…{closing}"
        if isinstance(value, dict):
            items = [f"{short(k, depth + 1)}: {short(v, depth + 1)}" for k, v in islice(value.items(), MAX_ITEMS)]
        else:
            items = [short(item, depth + 1) for item in islice(value, MAX_ITEMS)]
        return opening + ", ".join(items + ["…"] * (len(value) > MAX_ITEMS)) + closing
    if isinstance(value, type | functools.partial) or hasattr(value, "__qualname__"):
        return name_of(value)
    return type(value).__qualname__


def settings(values: Mapping[str, Any]) -> str:
    """Return named values as keyword arguments: `max_calls=3, name='x'`."""
    return ", ".join(f"{clip(str(name), MAX_NAME)}={short(value)}" for name, value in values.items())


def call(future: CallFuture[Any]) -> str:
    """Return a call as short source code: `evaluate({'C': 1.0}, seed=3)`."""
    name = short_name(future.task.name) if future.task is not None else name_of(future.function)
    args = [short(arg) for arg in future.args[:MAX_ITEMS]] + ["…"] * (len(future.args) > MAX_ITEMS)
    if future.kwargs:
        args.append(settings(dict(islice(future.kwargs.items(), MAX_ITEMS))))
        args += ["…"] * (len(future.kwargs) > MAX_ITEMS)
    return f"{name}({', '.join(args)})"


def number(value: int) -> str:
    """Return a number with separators of thousands: `100,000`."""
    return f"{value:,}"


def times(count: int) -> str:
    """Return a count as text: the sign of multiplication and the number."""
    return f"\N{MULTIPLICATION SIGN}{number(count)}"
