"""`TaskPlugin`: the base class of plugins that change, refuse, answer or watch the calls of a task."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from amltk.scheduling.call_plugin import Answer, CallPlugin, Refusal, Submission

if TYPE_CHECKING:
    from amltk.scheduling.task import Task

__all__ = ["Answer", "Refusal", "Submission", "TaskPlugin"]


class TaskPlugin(CallPlugin):
    """Base class of plugins of a task; override any of its methods.

    An object is attached to one task, for which it counts.

    Attributes:
        name: The name of the plugin, and of its entry point, if it has one.
        task: The task it is attached to; None before.
    """

    name: ClassVar[str] = ""
    task: Task[..., Any] | None = None

    def attach_task(self, task: Task[..., Any]) -> None:
        """Prepare for `task`, which is `self.task` and has the plugin's events by now.

        Called once, when the task is made: the place to register callbacks. By default it does nothing.
        """
