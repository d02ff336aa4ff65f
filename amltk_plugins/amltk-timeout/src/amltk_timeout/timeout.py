"""The plugin `Timeout`: sets the task's limit, which the backend enforces, and reports calls that exceed it."""

from __future__ import annotations

import asyncio
from typing import Any, ClassVar

from amltk import Event, Task, TaskPlugin
from amltk.checks import check_seconds
from amltk.exceptions import CallTimeoutError

AMLTK_CONTRACT = 1


class Timeout(TaskPlugin):
    """Limits the time of each call of its task.

    The backend ends a call that takes longer, from outside and with all that it has started, even if it is stuck in
    compiled code. The call fails with `amltk.exceptions.CallTimeoutError`; other calls are not affected. The time
    begins when a worker begins the call: imports in the worker count, waiting for a worker does not.

    It needs a backend whose `accepts_options` has `timeout`, such as `with_processes`, and costs nothing there.
    `PynisherPlugin(walltime_limit=...)` works on every backend, with an extra process for each call.

    Example:
        ```python
        task = scheduler.task(fit, plugins=Timeout(300))


        @task.on(Timeout.TIMED_OUT)
        def too_slow(future: asyncio.Future, error: CallTimeoutError) -> None:
            print(future.args, "took longer than", error.timeout)
        ```

    Attributes:
        seconds: The limit, in seconds.
    """

    name: ClassVar[str] = "timeout"

    TIMED_OUT: Event[asyncio.Future[Any], CallTimeoutError] = Event(
        "timed-out", "A call failed because it took longer than its limit; callbacks receive (future, exception)."
    )

    def __init__(self, seconds: float) -> None:
        """Set the limit.

        Args:
            seconds: Time limit of each call.

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
