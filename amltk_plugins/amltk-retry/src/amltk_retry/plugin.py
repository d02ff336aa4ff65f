"""Registers the task plugin `retry`."""

from __future__ import annotations

from collections.abc import Callable

from amltk import TaskPlugin
from amltk.hookspecs import hookimpl
from amltk_retry.retry import Retry

AMLTK_CONTRACT = 1


@hookimpl
def amltk_register_task_plugins(register: Callable[[type[TaskPlugin]], None]) -> None:
    """Register `Retry`."""
    register(Retry)
