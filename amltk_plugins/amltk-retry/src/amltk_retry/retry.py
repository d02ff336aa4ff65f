"""The plugin: it decides whether a call that failed is run again, and when."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, ClassVar

from tenacity import RetryCallState, Retrying, wait_exponential_jitter

from amltk import Event, Task, TaskPlugin
from amltk.checks import check_int, check_seconds
from amltk.describe import describe_value
from amltk.exceptions import WorkerDied, part_of
from amltk_retry.history import Attempt, History

if TYPE_CHECKING:
    from amltk.scheduling import CallFuture

AMLTK_CONTRACT = 1

logger = logging.getLogger("amltk")

Causes = type[BaseException] | Iterable[type[BaseException]] | Callable[[BaseException], object]
"""What `on=` takes: a class of exceptions, several, or a function that says of an exception whether it is one."""

Wait = Callable[[RetryCallState], float]
"""What `wait=` takes: a wait strategy of tenacity, or a function like one."""

DEFAULT_WAIT: Wait = wait_exponential_jitter(max=60)


class Retry(TaskPlugin):
    """Runs calls of its task again that failed: those whose worker died, if nothing else is said.

    A call may thus run more than once: what an attempt did before it failed, to files say, stays done, and is done
    again. To everybody else it is one call: its future is pending until an attempt succeeds or the call fails for
    good, and only that is told by `on_result` or `on_exception`. Meanwhile it is under way, for `task.n_running`,
    `CallLimiter` and `task.map` too. Nothing is run again once a run is ending: what waits for its next attempt
    then is cancelled.

    A call that fails for good keeps its own exception, to which a note with the history is added: when each attempt
    failed, of what, and in which process. Each call that is run again is written to the log `amltk`.

    Example:
        ```python
        from tenacity import wait_fixed

        task = scheduler.task(fit, plugins=Retry(5, on=(WorkerDied, OSError), wait=wait_fixed(10)))


        @task.on(Retry.GAVE_UP)
        def poison(future: asyncio.Future, attempts: Sequence[Attempt]) -> None:
            print(future.args, "failed", len(attempts), "times, last:", attempts[-1])
        ```

    Attributes:
        max_attempts: How often a call is run in all.
        max_deaths: After how many dead workers it is not run again, however many attempts are left.
    """

    name: ClassVar[str] = "retry"

    RETRYING: Event[asyncio.Future[Any], Any, int, float] = Event(
        "retrying",
        "An attempt at a call failed, and it will be run again; callbacks receive (future, exception, attempt, "
        "delay): the number of the attempt, from 1, and the seconds until the next one.",
    )
    GAVE_UP: Event[asyncio.Future[Any], tuple[Attempt, ...]] = Event(
        "gave-up",
        "A call failed for a reason for which calls are run again, and was not, for it had max_attempts or killed "
        "max_deaths workers; callbacks receive (future, attempts).",
    )

    def __init__(
        self,
        max_attempts: int = 3,
        *,
        on: Causes = WorkerDied,
        max_deaths: int = 3,
        wait: Wait = DEFAULT_WAIT,
    ) -> None:
        """Say what is run again, how often, and after how long.

        Args:
            max_attempts: How often a call is run in all, its first time included.
            on: What it must have failed of: a class of exceptions, several, or a function that takes the exception
                and says whether. `WorkerDied`, the default, is any death of a worker, a lost worker (`WorkerLost`)
                and one that was killed for memory included. `MemoryError` is lack of memory in any form: a worker
                that was known to be killed for it as well as the exception. A call that took too long fails with
                `CallTimeoutError`.
            max_deaths: A call that killed so many workers is not run again, however many attempts are left.
            wait: How long to wait before an attempt: a wait strategy of tenacity, as `wait_fixed(5)`, or their
                sum; or any function that takes a `tenacity.RetryCallState`, of which
                `attempt_number` and `outcome` are set, and returns seconds. The default doubles
                from 1 second up to 60, and adds up to a second at random.

        Raises:
            TypeError: A number is no integer; `on` is or holds something else than exception classes, and can't be
                called; `wait` can't be called.
            ValueError: A number is below 1, or `on` is empty.
        """
        check_int("max_attempts", max_attempts, at_least=1)
        check_int("max_deaths", max_deaths, at_least=1)
        if not callable(wait) or isinstance(wait, type):
            msg = (
                f"wait must be a wait strategy of tenacity, such as tenacity.wait_fixed(5), or a function that returns "
                f"seconds; got {describe_value(wait)} of type {type(wait).__name__}."
            )
            raise TypeError(msg)
        self.max_attempts = max_attempts
        self.max_deaths = max_deaths
        self._is_cause = _predicate(on)
        self._wait = wait
        self._histories: dict[asyncio.Future[Any], History] = {}

    def attach_task(self, task: Task[..., Any]) -> None:
        """Follow the ends of the task's calls."""
        task.on_done(self._done)
        task.on_cancelled(self._cancelled)

    def retry_after(self, future: CallFuture[Any], error: BaseException) -> float | None:
        """Say in how many seconds a call that failed is to be run again; None if it is not."""
        assert self.task is not None, "only an attached plugin is asked"
        is_cause = self._is_cause(error)
        if not is_cause and future not in self._histories:
            return None
        history = self._histories.setdefault(future, History())
        history.add(error)
        if not is_cause:
            history.tell(error)
            return None
        number = len(history.attempts)
        if number >= self.max_attempts or history.deaths >= self.max_deaths:
            history.tell(error)
            self.task.emit(self.GAVE_UP, future, tuple(history.attempts))
            return None
        delay = self._delay(future, error, number)
        logger.warning(
            "%s failed in attempt %d of %d and is run again in %.1f s: %s",
            future.describe(), number, self.max_attempts, delay, history.attempts[-1].text,
        )  # fmt: skip
        self.task.emit(self.RETRYING, future, error, number, delay)
        return delay

    def _delay(self, future: CallFuture[Any], error: BaseException, number: int) -> float:
        state = RetryCallState(Retrying(wait=self._wait), future.function, future.args, dict(future.kwargs))
        state.attempt_number = number
        state.set_exception((type(error), error, part_of(error, "__traceback__")))
        delay = self._wait(state)
        check_seconds("what wait= of Retry returned", delay)
        return delay

    def _done(self, future: asyncio.Future[Any]) -> None:
        history = self._histories.pop(future, None)
        if history is None or history.is_told:
            return
        error = future.exception()
        if error is not None:  # we were not asked: the run was ending
            history.add(error)
            history.tell(error)

    def _cancelled(self, future: asyncio.Future[Any]) -> None:
        self._histories.pop(future, None)

    def __repr__(self) -> str:
        return f"Retry({self.max_attempts}, max_deaths={self.max_deaths}, {len(self._histories)} under way)"


def _predicate(on: Causes) -> Callable[[BaseException], object]:
    if callable(on) and not isinstance(on, type):
        return on
    causes: tuple[object, ...] = tuple(on) if isinstance(on, Iterable) and not isinstance(on, str) else (on,)
    allowed = "an exception class, several, or a function that takes an exception"
    if not causes:
        msg = f"on must be {allowed}; got {describe_value(on)}, so that nothing would be run again."
        raise ValueError(msg)
    for cause in causes:
        if not (isinstance(cause, type) and issubclass(cause, BaseException)):
            hint = f" Pass its class, {type(cause).__name__}." if isinstance(cause, BaseException) else ""
            msg = f"on must be {allowed}; got {describe_value(cause)} of type {type(cause).__name__}.{hint}"
            raise TypeError(msg)
    classes = tuple(cause for cause in causes if isinstance(cause, type))

    def is_cause(error: BaseException) -> bool:
        killed_for_memory = isinstance(error, WorkerDied) and error.out_of_memory
        return isinstance(error, classes) or (killed_for_memory and MemoryError in classes)

    return is_cause
