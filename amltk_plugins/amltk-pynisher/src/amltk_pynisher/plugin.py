"""Registers the task plugin `pynisher`."""

from __future__ import annotations

from collections.abc import Callable

from amltk import TaskPlugin
from amltk.hookspecs import hookimpl
from amltk_pynisher.pynisher_plugin import PynisherPlugin

AMLTK_CONTRACT = 1


@hookimpl
def amltk_register_task_plugins(register: Callable[[type[TaskPlugin]], None]) -> None:
    """Register `PynisherPlugin`."""
    register(PynisherPlugin)
