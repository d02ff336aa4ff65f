"""Every hook of amltk. Implement any of them with `@amltk.hookspecs.hookimpl`, under the same name.

An entry point of the group `amltk.observers` names a module, or an object in it, with hooks; it is loaded when
the first scheduler is made.

    first Scheduler made ──> modules of amltk.observers are loaded
    Scheduler(...)       ──> amltk_scheduler_created
    scheduler.task(...)  ──> amltk_task_created
    run() ─┬─ starts     ──> amltk_run_started
           ├─ any event  ──> amltk_event_emitted
           └─ ends       ──> amltk_run_finished

A plugin's module says for which version of this contract it was made: `AMLTK_CONTRACT = 1`. It is
refused if another version is installed; a module without the line counts as made for version 1.

An implementation takes the arguments that it needs, by name. Implementations are called in the order
in which they were loaded; if one raises, the error is logged, and the others are still called.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import pluggy

if TYPE_CHECKING:
    from amltk.events import Emitter, Event
    from amltk.scheduling.exit_state import ExitState
    from amltk.scheduling.scheduler import Scheduler
    from amltk.scheduling.task import Task

CONTRACT = 1
"""The version of the contract between amltk and its plugins: these hooks, `amltk.backend`, and `TaskPlugin`.

It grows by one when a plugin made for the version before would fail or misbehave, and never for an addition. Plugins
contain the number, and do not refer to this constant.
"""

DECLARATION = "AMLTK_CONTRACT"
"""The name in a plugin's module for the version for which it was made."""

PROJECT = "amltk"
hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


@hookspec
def amltk_scheduler_created(scheduler: Scheduler) -> None:
    """A scheduler was made; it is complete and not running."""


@hookspec
def amltk_task_created(task: Task[..., Any]) -> None:
    """A task was made and its plugins are attached; `task.scheduler` is its scheduler."""


@hookspec
def amltk_run_started(scheduler: Scheduler) -> None:
    """A run starts: its executor is open, `on_start` comes next."""


@hookspec
def amltk_run_finished(scheduler: Scheduler, exit_state: ExitState) -> None:
    """A run has ended, for any reason: `on_finished` was emitted, the executor is closed."""


@hookspec
def amltk_event_emitted(emitter: Emitter, event: Event[...], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
    """An event was emitted, and its callbacks have been called, with `args` and `kwargs`.

    Called on the path of each call: an implementation slows down every event.
    """
