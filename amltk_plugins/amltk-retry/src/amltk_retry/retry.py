"""The plugin `Retry`: decides whether and when a failed call runs again."""

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
"""The type of `on=`: an exception class, several, or a function that returns whether an exception is a cause."""

Wait = Callable[[RetryCallState], float]
"""The type of `wait=`: a wait strategy of tenacity, or a function like one."""

DEFAULT_WAIT: Wait = wait_exponential_jitter(max=60)


class Retry(TaskPlugin):
    """Repeats failed calls of its task: by default, those whose worker died.

    A call may thus run more than once: effects of a failed attempt, for example on files, remain and happen again.
    It remains one call. Its future is pending until an attempt succeeds or the last one fails, and only this outcome
    is reported by `on_result` or `on_exception`. Until then the call counts as running for `task.n_running`,
    `CallLimiter` and `task.map`. A run that is ending starts no further attempts, and cancels calls that wait for one.

    A call that fails after its last attempt keeps its own exception. A note lists the attempts: when each failed, with
    what, and in which process. Each repetition is written to the log `amltk`.

    Example:
        ```python
        from tenacity import wait_fixed

        task = scheduler.task(fit, plugins=Retry(5, on=(WorkerDied, OSError), wait=wait_fixed(10)))


        @task.on(Retry.GAVE_UP)
        def poison(future: asyncio.Future, attempts: Sequence[Attempt]) -> None:
            print(future.args, "failed", len(attempts), "times, last:", attempts[-1])
        ```

    Attributes:
        max_attempts: Maximum number of attempts at a call.
        max_deaths: The number of dead workers after which a call is not repeated, even if attempts are left.
    """

    name: ClassVar[str] = "retry"

    RETRYING: Event[asyncio.Future[Any], Any, int, float] = Event(
        "retrying",
        "An attempt at a call failed, and the call will run again; callbacks receive (future, exception, attempt, "
        "delay): the number of the attempt, from 1, and the seconds until the next one.",
    )
    GAVE_UP: Event[asyncio.Future[Any], tuple[Attempt, ...]] = Event(
        "gave-up",
        "A call failed and is not repeated any more, because it had max_attempts or killed max_deaths workers; "
        "callbacks receive (future, attempts).",
    )

    def __init__(
        self,
        max_attempts: int = 3,
        *,
        on: Causes = WorkerDied,
        max_deaths: int = 3,
        wait: Wait = DEFAULT_WAIT,
    ) -> None:
        """Choose which calls are repeated, how often, and after which pause.

        Args:
            max_attempts: Maximum number of attempts at a call, including the first.
            on: The exceptions after which a call is repeated: a class, several, or a function that takes the
                exception and returns whether to repeat. `WorkerDied`, the default, is any death of a worker, including
                a lost worker (`WorkerLost`) and one killed for memory. `MemoryError` is that exception, and a worker
                that is known to have been killed for memory. A call that took too long fails with `CallTimeoutError`.
            max_deaths: A call that killed so many workers is not repeated, even if attempts are left.
            wait: The pause before an attempt: a wait strategy of tenacity, such as `wait_fixed(5)`, or a sum of them;
                or a function that takes a `tenacity.RetryCallState`, in which `attempt_number` and `outcome` are set,
                and returns seconds. The default doubles from 1 second up to 60, and adds up to a second at random.

        Raises:
            TypeError: A number is no integer; `on` is not callable and has something other than exception classes;
                `wait` can't be called.
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
        """Register callbacks that free the history of a call when it ends."""
        task.on_done(self._done)
        task.on_cancelled(self._cancelled)

    def retry_after(self, future: CallFuture[Any], error: BaseException) -> float | None:
        """Return in how many seconds a failed call runs again; None if it does not."""
        assert self.task is not None, "only attached plugins are called"
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
        check_seconds("the return value of wait= of Retry", delay)
        return delay

    def _done(self, future: asyncio.Future[Any]) -> None:
        history = self._histories.pop(future, None)
        if history is None or history.is_told:
            return
        error = future.exception()
        if error is not None:  # retry_after was not called: the run was ending
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
        msg = f"on must be {allowed}; got {describe_value(on)}, so nothing would be repeated."
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
