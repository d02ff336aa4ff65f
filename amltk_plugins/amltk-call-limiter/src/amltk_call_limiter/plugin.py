"""Registers the task plugin `call-limiter`."""

from __future__ import annotations

from collections.abc import Callable

from amltk import TaskPlugin
from amltk.hookspecs import hookimpl
from amltk_call_limiter.call_limiter import CallLimiter

AMLTK_CONTRACT = 1


@hookimpl
def amltk_register_task_plugins(register: Callable[[type[TaskPlugin]], None]) -> None:
    """Register `CallLimiter`."""
    register(CallLimiter)
