"""Scheduling: the `Scheduler`, its tasks, its runs.

As in `amltk` itself, names are imported when they are first asked for.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from amltk.scheduling.call_future import CallFuture
    from amltk.scheduling.call_plugin import Answer, Refusal
    from amltk.scheduling.exit_state import ExitState
    from amltk.scheduling.scheduler import Scheduler
    from amltk.scheduling.scheduler_plugin import SchedulerPlugin
    from amltk.scheduling.task import Task
    from amltk.scheduling.task_plugin import TaskPlugin
    from amltk_sequential import SequentialExecutor as SequentialExecutor  # comes with amltk-sequential

_HOME = {
    "Answer": "amltk.scheduling.call_plugin",
    "CallFuture": "amltk.scheduling.call_future",
    "ExitState": "amltk.scheduling.exit_state",
    "Refusal": "amltk.scheduling.call_plugin",
    "Scheduler": "amltk.scheduling.scheduler",
    "SchedulerPlugin": "amltk.scheduling.scheduler_plugin",
    "Task": "amltk.scheduling.task",
    "TaskPlugin": "amltk.scheduling.task_plugin",
}

# Without SequentialExecutor: `from amltk.scheduling import *` works with the core alone.
__all__ = ["Answer", "CallFuture", "ExitState", "Refusal", "Scheduler", "SchedulerPlugin", "Task", "TaskPlugin"]


def __getattr__(name: str) -> Any:
    value: Any
    if name in _HOME:
        value = getattr(importlib.import_module(_HOME[name]), name)
    elif name == "SequentialExecutor":
        from amltk.plugins.catalog import offered

        value = offered(name)
    else:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    from amltk.plugins.catalog import installed_of

    return sorted({*globals(), *__all__, *installed_of(["SequentialExecutor"])})
