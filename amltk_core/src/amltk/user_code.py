"""Whether what the main thread runs at a moment is the user's code, or ours: a handler of a signal asks that."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import CodeType, FrameType
from typing import Any, TypeVar

F = TypeVar("F", bound=Callable[..., Any])

_calls_users: set[CodeType] = set()
_OURS = ("amltk", "amltk_sequential")


def calls_user_code(function: F) -> F:
    """Mark a function: what it calls is the user's, and it expects that to raise anything."""
    _calls_users.add(function.__code__)
    return function


def is_user_code(frame: FrameType | None) -> bool:
    """Whether what runs in `frame` is the user's, and not ours or the event loop's."""
    inner: FrameType | None = None
    foreign = False
    while frame is not None:
        if frame.f_code in _calls_users:
            return inner is not None
        package = str(frame.f_globals.get("__name__")).partition(".")[0]
        if package in _OURS:
            return False
        if package == "asyncio":
            # A coroutine or callback of the user's; or the loop's own work, in which the collector may call somebody.
            return foreign and frame.f_code.co_name == "_run"
        # By name, not by file: methods of a named tuple have none. Its class has a module that is called after it.
        foreign = foreign or not (package in sys.stdlib_module_names or package.startswith("namedtuple_"))
        inner, frame = frame, frame.f_back
    return True
