"""The plugin: it sets the task's limit, which the backend enforces, and tells by an event of calls that exceed it."""

from __future__ import annotations

import asyncio
from typing import Any, ClassVar

from amltk import Event, Task, TaskPlugin
from amltk.checks import check_seconds
from amltk.exceptions import CallTimeoutError

AMLTK_CONTRACT = 1


class Timeout(TaskPlugin):
    """Limits how long each call of its task may take.

    The backend ends a call that takes longer, from outside and with all that it has started: also one that is
    stuck in compiled code. The call fails with `amltk.exceptions.CallTimeoutError`, and no other call is touched.
    The time counts from when a worker begins the call, and what that worker has to import for it counts too; what the
    call waits for a worker is free.

    It needs a backend whose `accepts_options` has `timeout`, as that of `with_processes`, and costs nothing there.
    `PynisherPlugin(walltime_limit=...)` works on every backend, for a process more with each call.

    Example:
        ```python
        task = scheduler.task(fit, plugins=Timeout(300))


        @task.on(Timeout.TIMED_OUT)
        def too_slow(future: asyncio.Future, error: CallTimeoutError) -> None:
            print(future.args, "took longer than", error.timeout)
        ```

    Attributes:
        seconds: The limit.
    """

    name: ClassVar[str] = "timeout"

    TIMED_OUT: Event[asyncio.Future[Any], CallTimeoutError] = Event(
        "timed-out", "A call failed, for it took longer than it may; callbacks receive (future, exception)."
    )

    def __init__(self, seconds: float) -> None:
        """Set the limit.

        Args:
            seconds: How long each call may take.

        Raises:
            TypeError: `seconds` is not a number.
            ValueError: It is not above 0, or infinite.
        """
        check_seconds("seconds", seconds, zero=False)
        self.seconds = float(seconds)

    def attach_task(self, task: Task[..., Any]) -> None:
        """Set the task's limit.

        Raises:
            NotSupportedError: The backend can't end a call that takes too long.
        """
        task.timeout = self.seconds
        task.on_exception(self._tell)

    def _tell(self, future: asyncio.Future[Any], error: BaseException) -> None:
        if isinstance(error, CallTimeoutError):
            assert self.task is not None
            self.task.emit(self.TIMED_OUT, future, error)

    def __repr__(self) -> str:
        return f"Timeout({self.seconds:g})"
