"""Registers the task plugin `timeout`."""

from __future__ import annotations

from collections.abc import Callable

from amltk import TaskPlugin
from amltk.hookspecs import hookimpl
from amltk_timeout.timeout import Timeout

AMLTK_CONTRACT = 1


@hookimpl
def amltk_register_task_plugins(register: Callable[[type[TaskPlugin]], None]) -> None:
    """Register `Timeout`."""
    register(Timeout)
