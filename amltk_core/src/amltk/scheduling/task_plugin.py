"""The contract of a task plugin: what changes, refuses or watches the calls of a task."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from amltk.events import Event, events_of

if TYPE_CHECKING:
    from amltk.scheduling.call import CallFuture
    from amltk.scheduling.task import Task

Submission = tuple[Callable[..., Any], tuple[Any, ...], Mapping[str, Any]]
"""What goes to a worker: a function, its positional and its keyword arguments."""


class TaskPlugin:
    """Subclass it to change how calls of a task are submitted. Override any of its methods.

    One object belongs to one task: what it counts is counted for that task.

    Attributes:
        name: What the plugin is called; the name of its entry point, if it has one.
        task: The task it is attached to; None before.
    """

    name: ClassVar[str] = ""
    task: Task[..., Any] | None = None

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if not cls.name:
            cls.name = cls.__name__

    def events(self) -> tuple[Event[...], ...]:
        """Return the events that the plugin adds to its task; those among its class's attributes, by default."""
        return events_of(type(self))

    def attach_task(self, task: Task[..., Any]) -> None:
        """Be attached to `task`, which is `self.task` by now, and has the plugin's events.

        Called once, when the task is made: the place to register callbacks. Does nothing by default.
        """

    def pre_submit(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Submission | None:
        """Look at a call before it is submitted.

        The plugins of a task are asked in the order in which they were given, each with what the one before
        it returned.

        Returns:
            What to submit, as `(function, args, kwargs)`; or None to refuse the call. A plugin
            that refuses says why by an event of its own: `self.task.emit(...)`.
        """
        return function, args, kwargs

    def retry_after(self, future: CallFuture[Any], error: BaseException) -> float | None:  # noqa: ARG002
        """Say whether a call that failed is to be run again.

        Asked before anybody is told of the failure. The call stays one: while it waits and runs
        again its future is pending, and only what comes of it in the end is an event. The plugins
        are asked in their order until one says yes; none is asked when the run is ending.

        Args:
            future: The call: what was submitted is in its `function`, `args` and `kwargs`.
            error: What it raised, or a `WorkerDied`, `CallTimeoutError` ...

        Returns:
            Seconds to wait before the same is submitted again; None, as by default, to let the call fail.
        """
        return None
