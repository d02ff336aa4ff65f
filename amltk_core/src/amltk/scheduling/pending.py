"""The calls of a run that have not ended: accepts, retries, ends and delivers them.

submit() ──> executor.submit ──> waiting[source] = future ──> on_future_submitted, on_submitted
                                      ^           |
retry_after ── runs again ────────────┘           | source is done, by way of the inbox
                                                  v
before_delivery holds it back, or not ──> off `waiting`, the future's result is set,
                                          the scheduler's events, the task's events, the policy
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from concurrent.futures import BrokenExecutor, Executor, Future, _base
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar, cast

from amltk.checks import is_unawaited, unawaited_result
from amltk.describe import name_of
from amltk.exceptions import SchedulerNotRunningError, WorkerDied, WrongThreadError, add_note, notes_of, part_of
from amltk.scheduling.answered import AnsweredSource
from amltk.scheduling.call_future import CallFuture
from amltk.scheduling.call_plugin import Answer
from amltk.scheduling.deliveries import Deliveries
from amltk.scheduling.exception_policy import Action
from amltk.scheduling.failures import Failures
from amltk.scheduling.inbox import Inbox
from amltk.scheduling.main_thread import explain
from amltk.scheduling.map_feeder import MapFeeder
from amltk.scheduling.rerun import runs_again
from amltk.scheduling.scheduler_events import SchedulerEvents
from amltk.scheduling.task_events import TaskEvents

if TYPE_CHECKING:
    from amltk.backend import AcceptsOptions, CallOptions
    from amltk.scheduling.callbacks import Callbacks
    from amltk.scheduling.scheduler import Scheduler
    from amltk.scheduling.task import Task

R = TypeVar("R")

# Looked up once: each call has six of them.
_FUTURE_SUBMITTED = SchedulerEvents.FUTURE_SUBMITTED
_FUTURE_DONE = SchedulerEvents.FUTURE_DONE
_FUTURE_RESULT = SchedulerEvents.FUTURE_RESULT
_FUTURE_EXCEPTION = SchedulerEvents.FUTURE_EXCEPTION
_FUTURE_CANCELLED = SchedulerEvents.FUTURE_CANCELLED
_SUBMITTED = TaskEvents.SUBMITTED
_DONE = TaskEvents.DONE
_RESULT = TaskEvents.RESULT
_EXCEPTION = TaskEvents.EXCEPTION
_CANCELLED = TaskEvents.CANCELLED

_NONE: Mapping[str, Any] = MappingProxyType({})
"""The keyword arguments of all calls without any: saves a dictionary for each."""


class PendingCalls:
    """The pending calls of a run; base class of `Run`.

    Attributes:
        scheduler: The scheduler of the run.
        waiting: The accepted calls that have not ended, by the executor's futures.
        accepting: Whether calls are accepted.
        inbox: Hands ended calls and orders of other threads over to the thread of the run.
        callbacks: The supervisor of callbacks of the scheduler and its tasks.
        deliveries: The ended calls that are held back; None unless a plugin has `before_delivery`.
    """

    callbacks: Callbacks

    def __init__(self, scheduler: Scheduler) -> None:
        """Start without calls, and accept none yet."""
        self.scheduler = scheduler
        self.waiting: dict[Future[Any], CallFuture[Any]] = {}
        self.accepting = False
        self.inbox = Inbox(self.waiting, self._ended)
        self.deliveries: Deliveries | None = None
        self._feeders: list[MapFeeder] = []
        self._turn_comes = False
        self._ignored = Failures()
        self._arrived = self.inbox.arrived  # bound once, or each call would keep a bound method
        self._executor: Executor | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._killing = False

    # Accepting

    def submit(
        self,
        task: Task[..., R] | None,
        function: Callable[..., R],
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        event_args: tuple[Any, ...] = (),
        event_kwargs: Mapping[str, Any] | None = None,
        answer: Answer | None = None,
        options: CallOptions | None = None,
    ) -> CallFuture[R]:
        """Submit a call to the executor; callbacks of `on_submitted` receive `event_args` and `event_kwargs`.

        A call with an `answer` goes to no worker: it ends with the answer in a later turn of the loop. The `options`
        replace those of the task.

        Raises:
            Exception: The executor's `submit` raises; the call is not accepted.
        """
        future: CallFuture[R] = CallFuture(loop=self._loop)
        future.task = task
        future.function = function
        future.args = args
        future.kwargs = kwargs or _NONE
        try:
            if answer is None:
                source = self._hand_over(task, function, args, kwargs, options)
            else:
                source = AnsweredSource(answer, future.get_loop())
        except RuntimeError as error:
            explain(error)
            raise
        future.source = source
        if options is not None:
            future.own_options = options
        self.waiting[source] = future
        if task is not None:
            task.n_submitted += 1
            task.n_running += 1
        self.scheduler.emit(_FUTURE_SUBMITTED, future)
        if task is not None:
            task.emit(_SUBMITTED, future, *event_args, **(event_kwargs or {}))
        source.add_done_callback(self._arrived)
        return future

    def send_again(self, future: CallFuture[Any]) -> None:
        """Submit a call that was accepted before to the executor again."""
        try:
            source = self._hand_over(future.task, future.function, future.args, future.kwargs, future.options)
        except Exception as error:  # the outcome of this attempt
            source = Future()
            source.set_exception(error)
        future.source = source
        self.waiting[source] = future
        source.add_done_callback(self._arrived)

    def _hand_over(
        self,
        task: Task[..., R] | None,
        function: Callable[..., R],
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        options: CallOptions | None,
    ) -> Future[R]:
        executor = self._executor
        assert executor is not None  # calls are accepted, so it is there
        if options is None and (task is None or (options := task._options) is None):
            return executor.submit(function, *args, **kwargs)
        # The task, or `submission`, has checked that it accepts them.
        return cast("AcceptsOptions", executor).submit_call(function, args, kwargs, options)

    def expect_deliveries(self) -> None:
        """Call `before_delivery` for ended calls from now on."""
        if self.deliveries is None:
            self.deliveries = Deliveries(self)

    def give_up_deliveries(self) -> None:
        """Deliver the calls that are held back, and hold back none from now on."""
        deliveries, self.deliveries = self.deliveries, None
        if deliveries is not None:
            deliveries.give_up()

    def feed(self, feeder: MapFeeder) -> None:
        """Submit calls of `task.map`: as many as `buffersize` allows now, the others as calls end.

        Raises:
            Exception: An iterable, or submitting, raises.
        """
        if feeder.submit(self):
            self._feeders.append(feeder)
            if not self.waiting:
                self._take_turn()

    def refuse(self) -> NoReturn:
        """Raise the reason why no call can be submitted now, or in this thread.

        Raises:
            SchedulerNotRunningError: The run is ending.
            WrongThreadError: This is not the thread of the run.
        """
        if not self.accepting:
            msg = "The scheduler is ending this run and takes no new calls; submit them in the next run()."
            raise SchedulerNotRunningError(msg)
        msg = (
            "Calls are submitted in the thread in which the scheduler runs, where its callbacks are called. "
            "From another thread: scheduler.call_later(0, task, *args, **kwargs)."
        )
        raise WrongThreadError(msg)

    # What comes after a call has ended

    def _ended(self, source: Future[Any]) -> None:
        self._deliver(source)
        if self._feeders or not self.waiting:
            self._go_on()

    def _go_on(self) -> None:
        """Submit the next calls of maps; if no call is left, the run may end."""
        if self._feeders:
            self._resupply()
        if self.waiting:
            return
        if self._feeders:  # a plugin has refused an item: the next item follows in the next turn of the loop
            self._take_turn()
        else:
            self._ran_empty()

    def _take_turn(self) -> None:
        if not self._turn_comes:
            assert self._loop is not None
            self._turn_comes = True
            self._loop.call_soon(self._turn_came)

    def _turn_came(self) -> None:
        self._turn_comes = False
        if self._feeders:
            self._go_on()

    def _resupply(self) -> None:
        for feeder in list(self._feeders):
            try:
                more = feeder.submit(self)
            except BaseException as error:
                self.callbacks.failed(f"The map of {feeder.task!r}", error)
                more = False
            if not more and feeder in self._feeders:
                self._feeders.remove(feeder)

    def _ran_empty(self) -> None:
        raise NotImplementedError

    def apply_policy(self, error: BaseException) -> Action:
        """Act on an exception as `on_exception=` says, and return the action."""
        raise NotImplementedError

    # Delivering

    def _deliver(self, source: Future[Any], *, abandoned: bool = False) -> None:
        """End a call: the queues first, then the scheduler's events, then the task's, then the policy."""
        future = self.waiting.pop(source, None) if self.deliveries is None else self.deliveries.take(source)
        if future is None:
            return  # abandoned, or resolved a second time
        if abandoned:
            self.tell_cancelled(future)
            return
        try:
            result = source.result()
        except BaseException as raised:
            if source.cancelled():
                self.tell_cancelled(future)
                return
            error = source.exception()
            if error is None or (raised is not error and isinstance(raised, KeyboardInterrupt)):
                raise  # not the exception of the call, but a second Ctrl-C
            _forget_us(error)
            self._deliver_exception(future, error)
        else:
            if result is None and (error := source.exception()) is not None:
                self._deliver_exception(future, error)  # an exception that is false, which `result()` ignores
            elif is_unawaited(result):
                self._deliver_unawaited(future, result)
            else:
                self._tell_result(future, result)

    def _deliver_exception(self, future: CallFuture[Any], error: BaseException) -> None:
        if self._killing and isinstance(error, (BrokenExecutor, WorkerDied)):
            self.tell_cancelled(future)
        elif not runs_again(self, future, error):
            self._tell_exception(future, error)

    def _deliver_unawaited(self, future: CallFuture[Any], result: object) -> None:
        error = unawaited_result(name_of(future.function), result)
        if not runs_again(self, future, error):
            self._tell_exception(future, error)

    def tell_cancelled(self, future: CallFuture[Any]) -> None:
        """End a call that was cancelled, with its events."""
        if self.deliveries is not None and self.deliveries.hold(future, self.tell_cancelled, outcome=None):
            return
        if (task := future.task) is not None:
            task.n_running -= 1
        future.mark_cancelled()
        self.scheduler.emit(_FUTURE_CANCELLED, future)
        if task is not None:
            task.emit(_CANCELLED, future)

    def _tell_result(self, future: CallFuture[Any], result: Any) -> None:
        if self.deliveries is not None and self.deliveries.hold(
            future, self._tell_result, result, outcome=Answer(result)
        ):
            return
        if (task := future.task) is not None:
            task.n_running -= 1
        if not future.done():
            future.set_result(result)
        scheduler = self.scheduler
        scheduler.emit(_FUTURE_DONE, future)
        scheduler.emit(_FUTURE_RESULT, future, result)
        if task is not None:
            task.emit(_DONE, future)
            task.emit(_RESULT, future, result)

    def _tell_exception(self, future: CallFuture[Any], error: BaseException) -> None:
        if self.deliveries is not None and self.deliveries.hold(
            future, self._tell_exception, error, outcome=Answer(exception=error)
        ):
            return
        if (task := future.task) is not None:
            task.n_running -= 1
        explain(error)
        _add_note(error, f"The call: {future.describe()}")
        if not future.done():
            future.fail(error)
        scheduler = self.scheduler
        scheduler.emit(_FUTURE_DONE, future)
        scheduler.emit(_FUTURE_EXCEPTION, future, error)
        if task is not None:
            task.emit(_DONE, future)
            task.emit(_EXCEPTION, future, error)
        if self.apply_policy(error) is Action.IGNORE:
            self._ignored.add(error)


def _forget_us(error: BaseException) -> None:
    """Remove the frames that raising it here has added to its traceback: they would keep the call alive."""
    added = part_of(error, "__traceback__")
    while added is not None and added.tb_frame.f_code.co_filename in (__file__, _base.__file__):
        added = added.tb_next
    BaseException.with_traceback(error, added)  # an exception that is a frozen dataclass forbids assignment


def _add_note(error: BaseException, note: str) -> None:
    if note not in notes_of(error):  # one exception object may end several calls
        add_note(error, note)
