"""Tells the user's code from ours by frames; signal handlers of a run use it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import CodeType, FrameType
from typing import Any, TypeVar

F = TypeVar("F", bound=Callable[..., Any])

_calls_users: set[CodeType] = set()
_OURS = ("amltk", "amltk_sequential")


def calls_user_code(function: F) -> F:
    """Mark a function that calls the user's code, and expects that to raise anything."""
    _calls_users.add(function.__code__)
    return function


def is_user_code(frame: FrameType | None) -> bool:
    """Return whether `frame` is in the user's code, and not in ours or the event loop's."""
    inner: FrameType | None = None
    foreign = False
    while frame is not None:
        if frame.f_code in _calls_users:
            return inner is not None
        package = str(frame.f_globals.get("__name__")).partition(".")[0]
        if package in _OURS:
            return False
        if package == "asyncio":
            # A coroutine or callback of the user's; or the loop's own work, in which the collector may call others.
            return foreign and frame.f_code.co_name == "_run"
        # By name, not by file: methods of a named tuple have no file, and a module that is named after the class.
        foreign = foreign or not (package in sys.stdlib_module_names or package.startswith("namedtuple_"))
        inner, frame = frame, frame.f_back
    return True
