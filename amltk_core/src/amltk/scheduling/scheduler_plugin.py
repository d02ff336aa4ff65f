"""The contract of a scheduler plugin: what changes, refuses, answers or watches every call of a scheduler."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from amltk.scheduling.call_plugin import CallPlugin

if TYPE_CHECKING:
    from amltk.scheduling.scheduler import Scheduler


class SchedulerPlugin(CallPlugin):
    """Subclass it to see every call of a scheduler, those of `scheduler.submit` included. Override any of its methods.

    It is asked before the plugins of a task. One object belongs to one scheduler: `scheduler.add_plugin(plugin)`.

    Attributes:
        name: What the plugin is called.
        scheduler: The scheduler it is attached to; None before.
    """

    name: ClassVar[str] = ""
    scheduler: Scheduler | None = None

    def attach_scheduler(self, scheduler: Scheduler) -> None:
        """Be attached to `scheduler`, which is `self.scheduler` by now, and has the plugin's events.

        Called once, by `scheduler.add_plugin`: the place to register callbacks. Does nothing by default.
        """
