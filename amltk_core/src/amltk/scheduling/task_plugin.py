"""The contract of a task plugin: what changes, refuses, answers or watches the calls of a task."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from amltk.scheduling.call_plugin import Answer, CallPlugin, Refusal, Submission

if TYPE_CHECKING:
    from amltk.scheduling.task import Task

__all__ = ["Answer", "Refusal", "Submission", "TaskPlugin"]


class TaskPlugin(CallPlugin):
    """Subclass it to change how calls of a task are submitted. Override any of its methods.

    One object belongs to one task: what it counts is counted for that task.

    Attributes:
        name: What the plugin is called; the name of its entry point, if it has one.
        task: The task it is attached to; None before.
    """

    name: ClassVar[str] = ""
    task: Task[..., Any] | None = None

    def attach_task(self, task: Task[..., Any]) -> None:
        """Be attached to `task`, which is `self.task` by now, and has the plugin's events.

        Called once, when the task is made: the place to register callbacks. Does nothing by default.
        """
