"""The plugin `CallLimiter`: refuses calls, and reports by an event which limit was reached."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, ClassVar

from amltk import Event, Refusal, Task, TaskPlugin
from amltk.checks import check_int
from amltk.describe import describe_value

AMLTK_CONTRACT = 1


class CallLimiter(TaskPlugin):
    """Refuses calls of its task that would exceed a limit.

    A refused call returns None, and `task.refusal` has the reason. One event is emitted: that of the first
    limit reached, in the order `max_calls`, `max_concurrent`, `not_while_running`. Its callbacks receive
    the task and the arguments of the call.

    Only submitted calls count, not those that another plugin of the task or the executor refuses.

    Example:
        ```python
        items = Requeue(range(10))
        task = scheduler.task(work, plugins=CallLimiter(max_concurrent=2))


        @task.on(CallLimiter.CONCURRENT_LIMIT_REACHED)
        def later(task: Task, item: int) -> None:
            items.requeue(item)
        ```

    Attributes:
        max_calls: Maximum number of calls in total, over all runs; None for any number.
        max_concurrent: Maximum number of calls that wait or run at a time; None for any number.
        not_while_running: The tasks that must have no call waiting or running.
    """

    name: ClassVar[str] = "call-limiter"

    CALL_LIMIT_REACHED: Event[...] = Event(
        "call-limit-reached",
        "A call was refused because max_calls were accepted before; callbacks receive (task, *args, **kwargs).",
    )
    CONCURRENT_LIMIT_REACHED: Event[...] = Event(
        "concurrent-limit-reached",
        "A call was refused because max_concurrent are under way; callbacks receive (task, *args, **kwargs).",
    )
    DISABLED_DUE_TO_RUNNING_TASK: Event[...] = Event(
        "disabled-due-to-running-task",
        "A call was refused because one of not_while_running is under way; callbacks receive (task, *args, **kwargs).",
    )

    def __init__(
        self,
        *,
        max_calls: int | None = None,
        max_concurrent: int | None = None,
        not_while_running: Task[..., Any] | Iterable[Task[..., Any]] = (),
    ) -> None:
        """Set the limits.

        Args:
            max_calls: Maximum number of calls in total, over all runs; 1 or more.
            max_concurrent: Maximum number of calls that wait or run at a time; 1 or more.
            not_while_running: A task, or several: calls are refused while a call of any of them waits or runs.

        Raises:
            TypeError: A limit is no integer, or `not_while_running` holds something that is not a task.
            ValueError: A limit is below 1.
        """
        check_int("max_calls", max_calls, at_least=1, or_none=True)
        check_int("max_concurrent", max_concurrent, at_least=1, or_none=True)
        self.max_calls = max_calls
        self.max_concurrent = max_concurrent
        self.not_while_running = _checked(not_while_running)

    @property
    def calls(self) -> int:
        """The number of calls submitted so far, over all runs."""
        return self.task.n_submitted if self.task is not None else 0

    def pre_submit(
        self, function: Callable[..., Any], /, *args: Any, **kwargs: Any
    ) -> tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]] | Refusal:
        """Let the call pass unchanged, or refuse it."""
        task = self.task
        assert task is not None, "only attached plugins are called"
        if self.max_calls is not None and self.calls >= self.max_calls:
            reached, reason = self.CALL_LIMIT_REACHED, f"max_calls={self.max_calls} calls were accepted"
        elif self.max_concurrent is not None and task.n_running >= self.max_concurrent:
            reached, reason = self.CONCURRENT_LIMIT_REACHED, f"max_concurrent={self.max_concurrent} calls are under way"
        elif (other := next((other for other in self.not_while_running if other.running()), None)) is not None:
            reached, reason = self.DISABLED_DUE_TO_RUNNING_TASK, f"not_while_running: {other.name} is under way"
        else:
            return function, args, kwargs
        task.emit(reached, task, *args, **kwargs)
        return Refusal(reason)

    def __repr__(self) -> str:
        limits = []
        if self.max_calls is not None:
            limits.append(f"{self.calls} of {self.max_calls} calls")
        if self.max_concurrent is not None:
            limits.append(f"{self.task.n_running if self.task else 0} of {self.max_concurrent} concurrent")
        if self.not_while_running:
            limits.append(f"not while running: {', '.join(task.name for task in self.not_while_running)}")
        return f"CallLimiter({', '.join(limits) or 'no limits'})"


def _checked(tasks: Task[..., Any] | Iterable[Task[..., Any]]) -> tuple[Task[..., Any], ...]:
    listed: tuple[object, ...] = (tasks,)
    if not isinstance(tasks, (Task, str, Mapping)) and isinstance(tasks, Iterable):
        listed = tuple(tasks)
    for task in listed:
        if not isinstance(task, Task):
            hint = " Pass what scheduler.task(function) returned." if callable(task) else ""
            got = f"{describe_value(task)} of type {type(task).__name__}"
            msg = f"not_while_running must be a Task or several, got {got}.{hint}"
            raise TypeError(msg)
    return tuple(task for task in listed if isinstance(task, Task))
