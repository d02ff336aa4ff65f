"""`SchedulerPlugin`: the base class of plugins that change, refuse, answer or watch every call of a scheduler."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from amltk.scheduling.call_plugin import CallPlugin

if TYPE_CHECKING:
    from amltk.scheduling.scheduler import Scheduler


class SchedulerPlugin(CallPlugin):
    """Base class of plugins of a scheduler, for every call, `scheduler.submit` included; override any of its methods.

    It is asked before the plugins of a task. An object is attached to one scheduler, by `scheduler.add_plugin`.

    Attributes:
        name: The name of the plugin, and of its entry point, if it has one.
        scheduler: The scheduler it is attached to; None before.
    """

    name: ClassVar[str] = ""
    scheduler: Scheduler | None = None

    def attach_scheduler(self, scheduler: Scheduler) -> None:
        """Prepare for `scheduler`, which is `self.scheduler` and has the plugin's events by now.

        Called once, by `scheduler.add_plugin`: the place to register callbacks. By default it does nothing.
        """
