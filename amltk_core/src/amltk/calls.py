"""Calls and functions as text, for people: what every error that tells of a call has of it."""

from __future__ import annotations

import functools
import reprlib
from collections.abc import Mapping
from typing import Any

_short = reprlib.Repr()
_short.maxlevel, _short.maxstring, _short.maxother = 3, 60, 60


def name_of(function: object) -> str:
    """Return what a person would call a function, or whatever else is called."""
    while isinstance(function, functools.partial):
        function = function.func
    name = getattr(function, "__qualname__", None)
    return name if name and isinstance(name, str) else type(function).__qualname__


def describe_call(function: object, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> str:
    """Return a call as text: `train(3, lr=0.1)`, long values cut short."""
    try:
        by_name = (f"{name}={_short.repr(value)}" for name, value in kwargs.items())
        return f"{name_of(function)}({', '.join([*map(_short.repr, args), *by_name])})"
    except Exception:  # an argument that can't even be shown
        return f"{name_of(function)}(...)"
