"""One run of a scheduler, from start to exit.

    submit() ──> executor.submit ──> waiting[source] = future ──> on_future_submitted, on_submitted

    worker's thread             |  thread of the loop
                                |
    source is done ──> inbox ───┼──> _ended: off `waiting`, the future's result is set,
                 (wakes it once)|       the scheduler's events, the task's events, the policy
                                |
                                |  accepting ── nothing left / stop() / timeout / error / interrupt ──┐
                                |     ^ calls are accepted                                            v
                                |                 waits for what runs, or stops it ── on_finishing ── on_finished

A run is one object and is used once; the scheduler makes a new one each time.
"""

from __future__ import annotations

import asyncio
import functools
import logging
from collections.abc import Callable, Mapping
from concurrent.futures import BrokenExecutor, Executor, Future, _base
from time import sleep
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NoReturn, Protocol, TypeVar, cast

from amltk.calls import describe_value, name_of
from amltk.checks import is_unawaited, unawaited_result
from amltk.events import Event
from amltk.exceptions import SchedulerNotRunningError, WorkerDied, WrongThreadError, add_note, notes_of, part_of
from amltk.scheduling.answered import AnsweredSource
from amltk.scheduling.blocking import in_thread
from amltk.scheduling.call import CallFuture
from amltk.scheduling.call_plugin import Answer
from amltk.scheduling.callbacks import Callbacks, Timer
from amltk.scheduling.deliveries import Deliveries
from amltk.scheduling.exit_state import Code, ExitState
from amltk.scheduling.failures import Failures
from amltk.scheduling.inbox import Inbox
from amltk.scheduling.main_thread import check_main_thread, explain
from amltk.scheduling.policy import Action, Policy
from amltk.scheduling.retry import runs_again
from amltk.scheduling.supply import Supply

if TYPE_CHECKING:
    from amltk.backend import AcceptsOptions
    from amltk.scheduling.provider import Provider
    from amltk.scheduling.scheduler import Scheduler
    from amltk.scheduling.task import Task

R = TypeVar("R")

logger = logging.getLogger("amltk")

_NONE: Mapping[str, Any] = MappingProxyType({})
"""What calls without keyword arguments share, instead of each keeping an empty dictionary."""

CLOSE_SECONDS = 30.0
"""How long the executor may take to be killed or closed before the run ends without it."""
TAKE_UP_SECONDS = 0.02
"""What free workers get to take up calls submitted the moment before, when a run is stopped and none runs yet."""
GRACE_SECONDS = 2.0
"""How long cancelled `async def` callbacks may take to end before the run ends without them."""

REFRESH_SECONDS = 0.1
"""How often a live view is refreshed."""

_WEIGHT = {Code.EXCEPTION: 1, Code.CANCELLED: 2}


class View(Protocol):
    """What shows a run while it goes on."""

    def start(self) -> None:
        """Begin to show it."""

    def refresh(self) -> None:
        """Show how things stand now."""

    def stop(self) -> None:
        """Show how things stand at the end, and leave that on the screen."""


class Run:
    """One run: accepts calls, delivers what comes of them, and comes to an end in good order.

    Attributes:
        scheduler: Whose run it is.
        waiting: The accepted calls that have not ended, by the executor's futures.
        accepting: Whether calls are accepted.
        inbox: By which other threads reach it.
        callbacks: The supervisor of the scheduler and its tasks.
        deliveries: The ended calls that are held back; None unless a plugin has `before_delivery`.
    """

    def __init__(
        self,
        scheduler: Scheduler,
        provider: Provider,
        *,
        policy: Policy,
        timeout: float | None,
        wait: bool,
        end_on_empty: bool,
        view: View | None,
    ) -> None:
        """Prepare a run; `execute` does it. The `view` is kept up to date, if given."""
        self.scheduler = scheduler
        self.waiting: dict[Future[Any], CallFuture[Any]] = {}
        self.accepting = False
        self.inbox = Inbox(self.waiting, self._ended)
        self.deliveries: Deliveries | None = None
        self._supplies: list[Supply] = []
        self._turn_comes = False
        self._ignored = Failures()
        self._arrived = self.inbox.arrived  # bound once: each call would keep a method of its own
        self.callbacks = Callbacks(self)
        self._provider = provider
        self._policy = policy
        self._timeout = timeout
        self._wait = wait
        self._end_on_empty = end_on_empty
        self._view = view
        self._executor: Executor | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._killing = False
        self._dropped = False
        self._leaving_work_behind = False
        self._code: Code | None = None
        self._exception: BaseException | None = None
        self._errors: list[BaseException] = []
        self._interrupt: BaseException | None = None
        self._asked_to_raise: BaseException | None = None
        self._course_task: asyncio.Task[None] | None = None
        self._last_events: list[Event[[]]] = []
        self._ending = asyncio.Event()
        self._at_once = asyncio.Event()
        self._idle = asyncio.Event()

    # What the scheduler and its tasks call

    def submit(
        self,
        task: Task[..., R] | None,
        function: Callable[..., R],
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        told_args: tuple[Any, ...] = (),
        told_kwargs: Mapping[str, Any] | None = None,
        answer: Answer | None = None,
    ) -> CallFuture[R]:
        """Hand a call to the executor; the task's `on_submitted` is told of `told_args` and `told_kwargs`.

        A call with an `answer` goes to no worker: it ends so in a later turn of the loop.

        Raises:
            Exception: What the executor's `submit` raises; the call was not accepted then.
        """
        future: CallFuture[R] = CallFuture(loop=self._loop)
        future.task = task
        future.function = function
        future.args = args
        future.kwargs = kwargs or _NONE
        try:
            if answer is None:
                source = self._hand_over(task, function, args, kwargs)
            else:
                source = AnsweredSource(answer, future.get_loop())
        except RuntimeError as error:
            explain(error)
            raise
        future.source = source
        self.waiting[source] = future
        if task is not None:
            task.n_submitted += 1
            task.n_running += 1
        self.scheduler.emit(self.scheduler.FUTURE_SUBMITTED, future)
        if task is not None:
            task.emit(task.SUBMITTED, future, *told_args, **(told_kwargs or {}))
        source.add_done_callback(self._arrived)
        return future

    def send_again(self, future: CallFuture[Any]) -> None:
        """Hand a call that was accepted before to the executor once more."""
        try:
            source = self._hand_over(future.task, future.function, future.args, future.kwargs)
        except Exception as error:  # this time, that is what came of it
            source = Future()
            source.set_exception(error)
        future.source = source
        self.waiting[source] = future
        source.add_done_callback(self._arrived)

    def _hand_over(
        self, task: Task[..., R] | None, function: Callable[..., R], args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> Future[R]:
        executor = self._executor
        assert executor is not None  # calls are accepted, so it is there
        if task is None or (options := task._options) is None:
            return executor.submit(function, *args, **kwargs)
        return cast("AcceptsOptions", executor).submit_call(function, args, kwargs, options)  # checked by the task

    def expect_deliveries(self) -> None:
        """Have ended calls go by way of `before_delivery` from now on."""
        if self.deliveries is None:
            self.deliveries = Deliveries(self)

    def supply(self, supply: Supply) -> None:
        """Submit calls of `task.map`: as many as there may be now, the others as calls end.

        Raises:
            Exception: What an iterable raises, or what submitting does.
        """
        if supply.submit(self):
            self._supplies.append(supply)
            if not self.waiting:
                self._take_turn()

    def refuse(self) -> NoReturn:
        """Say why no call can be submitted now, or here.

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

    def stop(self, message: str, exception: BaseException | None) -> None:
        """End the run because the user says so; from whatever thread."""
        self.inbox.do(self._stop, message, exception)

    def interrupt(self, error: BaseException) -> None:
        """End the run at once, killing what runs, because of a Ctrl-C or the like; from whatever thread."""
        self._asked_to_raise = error
        # Never directly: a signal handler runs in the loop's thread, but nothing of it would wake the loop.
        self.inbox.order(self.interrupted, error)

    def break_off(self) -> bool:
        """Have a run that ends wait for nothing more; from whatever thread. False if it can't yet."""
        if self._course_task is None:
            return False
        self.inbox.order(self._course_task.cancel)
        return True

    def call_later(
        self, delay: float, function: Callable[..., object], args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> Timer:
        """Call `function` in `delay` seconds; the run does not count as empty before that."""
        timer = Timer(self.callbacks, function, args, kwargs)
        self.inbox.do(self.callbacks.start_timer, timer, delay)
        return timer

    # The course of a run

    async def execute(self) -> None:
        """Run, in the loop that is running now, until the end; `conclude` tells what came of it."""
        self._loop = asyncio.get_running_loop()
        self.inbox.belong_to(self._loop)
        self._open()
        view = self._view
        if view is not None:
            view.start()  # before the first event, so that it sees them all
        refreshing = None if view is None else self._loop.create_task(_keep_up_to_date(view))
        course = self._course_task = self._loop.create_task(self._course())
        try:
            while not course.done():
                try:
                    await asyncio.shield(course)
                except asyncio.CancelledError as error:
                    if not course.cancelled() or self._asked_to_raise is None:
                        self.interrupted(error)
            if not course.cancelled():
                course.result()
        finally:
            self._abandon()
            self._settle()
            if view is not None and refreshing is not None:
                refreshing.cancel()
                view.stop()

    def _open(self) -> None:
        provider = self._provider
        if not provider.needs_main_thread:
            self._executor = provider.open()
            return
        check_main_thread(provider.label)
        try:
            self._executor = provider.open()
        except RuntimeError as error:
            check_main_thread(provider.label, error)
            raise
        try:
            check_main_thread(provider.label)  # it may have ended meanwhile
        except BaseException:
            self._abandon()
            raise

    def conclude(self) -> ExitState:
        """Return how the run ended, or raise what is to be raised.

        Not in `execute`: what leaves a coroutine must not be a `StopIteration`, and callbacks raise it.
        """
        errors = _as_one(self._errors) if self._errors else None
        if (interrupt := self._interrupt or self._asked_to_raise) is not None:  # that may have come too late
            raise interrupt from errors
        if errors is not None:
            raise errors
        return self.exit_state

    @property
    def worker_counts(self) -> Mapping[str, int]:
        """What the executor says of its workers, as "connected": 2, say; empty if it says nothing."""
        tell = getattr(self._executor, "worker_counts", None)
        counts: Mapping[str, int] = tell() if callable(tell) else {}
        return counts

    @property
    def exit_state(self) -> ExitState:
        """How the run ended."""
        return ExitState(self._code or Code.CANCELLED, self._exception)

    def _abandon(self) -> None:
        """Close the executor where the course of the run was torn away before it could; does nothing otherwise."""
        executor, self._executor = self._executor, None
        if executor is not None:
            self.accepting = False
            self._killing = True
            if self._provider.kill is not None:
                self._provider.kill(executor)
            if self._provider.owned:
                executor.shutdown(wait=False, cancel_futures=True)

    def _settle(self) -> None:
        """Do what is left of the end without waiting, where its course was torn; does nothing otherwise."""
        if not self._last_events:
            return
        self.accepting = False
        self._supplies.clear()
        for timer in list(self.callbacks.timers):
            timer.cancel()
        for task in self.callbacks.coroutines:
            task.cancel()
        for source in list(self.waiting):
            self._deliver(source, abandoned=not source.done())
        if self.deliveries is not None:
            self.deliveries.give_up()
        while self._last_events:
            self.scheduler.emit(self._last_events.pop(0))
        self.scheduler.notify("amltk_run_finished", exit_state=self.exit_state)

    async def _course(self) -> None:
        scheduler = self.scheduler
        assert self._loop is not None
        timeout = None if self._timeout is None else self._loop.call_later(self._timeout, self._timed_out)
        ended_before = scheduler.event_counts[scheduler.FUTURE_DONE]
        self.accepting = True
        self._last_events = [scheduler.FINISHING, scheduler.FINISHED]
        scheduler.notify("amltk_run_started")
        scheduler.emit(scheduler.STARTED)
        self.inbox.open()
        if not self.waiting and not self._supplies:
            self._ran_empty()
        await self._ending.wait()
        for timer in list(self.callbacks.timers):
            timer.cancel()
        if timeout is not None:
            timeout.cancel()
        if self._wait and not self._at_once.is_set():
            await self._until_idle()
        if self.waiting or self.callbacks.coroutines or self._may_be_busy():
            await self._stop_what_runs()
        self._ignored.tell(scheduler.event_counts[scheduler.FUTURE_DONE] - ended_before)
        scheduler.emit(self._last_events.pop(0))
        await self.callbacks.settle()
        await self._close()
        scheduler.emit(self._last_events.pop(0))
        await self.callbacks.settle()
        scheduler.notify("amltk_run_finished", exit_state=self.exit_state)

    def _may_be_busy(self) -> bool:
        """Whether workers of a run that ends at once may be preparing for calls that are cancelled by now."""
        return self._dropped and self._provider.owned and (not self._wait or self._at_once.is_set())

    async def _until_idle(self) -> None:
        """Wait for calls and callbacks to end, unless the run is to end at once."""
        assert self._loop is not None
        self.check_idle()
        events = [self._loop.create_task(event.wait()) for event in (self._idle, self._at_once)]
        await asyncio.wait(events, return_when=asyncio.FIRST_COMPLETED)
        for event in events:
            event.cancel()
        await asyncio.wait(events)

    async def _stop_what_runs(self) -> None:
        """Cancel what waits for a worker, kill what runs; every call has ended afterwards."""
        assert self._executor is not None
        self._cancel_what_waits()
        self.inbox.deliver()
        if (self.waiting or self._may_be_busy()) and self._provider.kill is not None:
            self._killing = True
            await self._bring_about("killed", functools.partial(self._provider.kill, self._executor))
        await self._empty_inbox()
        stuck = [future for source, future in self.waiting.items() if not source.done()]
        if stuck:
            names = ", ".join(sorted({future.name for future in stuck}))
            logger.warning(
                "The run ends while %d call(s) run on, which %s cannot stop: %s. What they return is dropped.",
                len(stuck), self._provider.label, names,
            )  # fmt: skip
        self._leaving_work_behind = bool(stuck)
        for source in list(self.waiting):
            self._deliver(source, abandoned=not source.done())
        if self.deliveries is not None:
            await self.deliveries.finish(GRACE_SECONDS)
            await self._empty_inbox()
            self.deliveries.give_up()
        await self.callbacks.cancel(GRACE_SECONDS)

    async def _empty_inbox(self) -> None:
        while not self.inbox.is_empty:
            self.inbox.deliver()
            await asyncio.sleep(0)

    async def _close(self) -> None:
        executor, self._executor = self._executor, None
        if self._provider.owned and executor is not None:
            wait = not self._leaving_work_behind
            await self._bring_about("closed", functools.partial(executor.shutdown, wait, cancel_futures=True))

    async def _bring_about(self, what: str, function: Callable[[], object]) -> None:
        """Do something to the executor; what goes wrong there must not keep the run from its end."""
        label = self._provider.label
        try:
            await in_thread(function, CLOSE_SECONDS, f"amltk: {label} is being {what}")
        except TimeoutError:
            msg = "%s could not be %s within %g s; the run ends without waiting longer."
            logger.warning(msg, label, what, CLOSE_SECONDS)
        except Exception:
            logger.exception("%s could not be %s in good order.", label, what)

    # What happens to it

    def _end(self, code: Code, exception: BaseException | None = None) -> None:
        # An error tells more about the end than what came before it, and an interrupt more than an error.
        if self._code is None or _WEIGHT.get(code, 0) > _WEIGHT.get(self._code, 0):
            self._code = code
            self._exception = exception
        if self.accepting:
            self.accepting = False
            self._supplies.clear()
            self._drop_what_waits()
            self._ending.set()

    def _drop_what_waits(self) -> None:
        """Cancel the calls that no worker has taken up: only what runs is waited for.

        Here and now: an executor in the loop's own thread must not start the next one before.
        """
        if self._wait and self.waiting and not any(source.running() for source in self.waiting):
            sleep(TAKE_UP_SECONDS)
            if not self._provider.tells_running and not any(source.running() for source in self.waiting):
                return  # any of them may run, and no future of this executor may ever say so
        self._cancel_what_waits()

    def _cancel_what_waits(self) -> None:
        for source in list(self.waiting):
            if not source.running():  # there are executors that can stop those too
                self._dropped |= source.cancel()

    def _stop(self, message: str, exception: BaseException | None) -> None:
        if self.accepting:
            self._end(Code.STOPPED, exception)
            self.scheduler.emit(self.scheduler.STOP, message, exception)

    def _timed_out(self) -> None:
        if self.accepting:
            self._end(Code.TIMEOUT)
            self.scheduler.emit(self.scheduler.TIMEOUT)

    def interrupted(self, error: BaseException) -> None:
        """End the run at once; in the thread of the loop."""
        self._interrupt = error
        self._end(Code.CANCELLED, error)
        self._at_once.set()

    def _ended(self, source: Future[Any]) -> None:
        self._deliver(source)
        self._go_on()

    def _go_on(self) -> None:
        """Submit what maps have to submit next; without any call left, the run may be at its end."""
        if self._supplies:
            self._resupply()
        if self.waiting:
            return
        if self._supplies:  # a plugin has refused an item: the next one's turn comes in the next turn of the loop
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
        if self._supplies:
            self._go_on()

    def _resupply(self) -> None:
        for supply in list(self._supplies):
            try:
                more = supply.submit(self)
            except BaseException as error:
                self.callbacks.failed(f"The map of {supply.task!r}", error)
                more = False
            if not more and supply in self._supplies:
                self._supplies.remove(supply)

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
                raise  # not what the call raised, but a second Ctrl-C just now
            _forget_us(error)
            self._deliver_exception(future, error)
        else:
            if result is None and (error := source.exception()) is not None:
                self._deliver_exception(future, error)  # one that is false, which `result()` overlooks
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
        self.scheduler.emit(self.scheduler.FUTURE_CANCELLED, future)
        if task is not None:
            task.emit(task.CANCELLED, future)

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
        scheduler.emit(scheduler.FUTURE_DONE, future)
        scheduler.emit(scheduler.FUTURE_RESULT, future, result)
        if task is not None:
            task.emit(task.DONE, future)
            task.emit(task.RESULT, future, result)

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
            _set_exception(future, error)
        scheduler = self.scheduler
        scheduler.emit(scheduler.FUTURE_DONE, future)
        scheduler.emit(scheduler.FUTURE_EXCEPTION, future, error)
        if task is not None:
            task.emit(task.DONE, future)
            task.emit(task.EXCEPTION, future, error)
        if self.apply_policy(error) is Action.IGNORE:
            self._ignored.add(error)

    def _ran_empty(self) -> None:
        if self.accepting:
            self.scheduler.emit(self.scheduler.EMPTY)
        self.check_idle()

    def check_idle(self) -> None:
        """See whether anything is left that could still lead to something."""
        if self.waiting or self.callbacks.coroutines:
            return
        if not self.accepting:
            self._idle.set()
        elif self._end_on_empty and not self.callbacks.timers and not self._supplies:
            self._end(Code.EXHAUSTED)

    def apply_policy(self, error: BaseException) -> Action:
        """Do what the policy says about an exception, and return what that was."""
        action = self._policy.action(error)
        if action is Action.RAISE:
            self.fail(error)
        elif action is Action.END:
            self._end(Code.EXCEPTION, error)
        return action

    def fail(self, error: BaseException) -> None:
        """End the run, which will raise the error."""
        if not any(error is known or _same_breakdown(error, known) for known in self._errors):
            self._errors.append(error)
        self._end(Code.EXCEPTION, error)


async def _keep_up_to_date(view: View) -> None:
    while True:
        await asyncio.sleep(REFRESH_SECONDS)
        view.refresh()


def _forget_us(error: BaseException) -> None:
    """Cut off what raising it here has added to its traceback: frames of ours would keep the call alive."""
    added = part_of(error, "__traceback__")
    while added is not None and added.tb_frame.f_code.co_filename in (__file__, _base.__file__):
        added = added.tb_next
    BaseException.with_traceback(error, added)  # an exception that is a frozen dataclass lets nothing be assigned


def _add_note(error: BaseException, note: str) -> None:
    if note not in notes_of(error):  # one exception may end several calls
        add_note(error, note)


def _set_exception(future: CallFuture[Any], error: BaseException) -> None:
    if isinstance(error, StopIteration):  # a future refuses it, since awaiting the future could not raise it
        replacement = RuntimeError(f"the call raised {describe_value(error)}")
        replacement.__cause__ = error
        future.set_exception(replacement)
    else:
        future.set_exception(error)
    future.exception()  # seen: the event tells of it, so the future must not complain that nobody looked


def _same_breakdown(error: BaseException, known: BaseException) -> bool:
    """Say whether both tell of the same: when an executor breaks, each of its calls fails for that reason."""
    if not isinstance(error, BrokenExecutor):
        return False
    cause = part_of(error, "__cause__")
    return cause is not None and cause is part_of(known, "__cause__")


def _as_one(errors: list[BaseException]) -> BaseException:
    if len(errors) == 1:
        return errors[0]
    return BaseExceptionGroup(f"{len(errors)} errors in one run of the scheduler", errors)
