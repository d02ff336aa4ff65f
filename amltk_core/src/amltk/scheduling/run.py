"""One run of a scheduler, from start to exit. What becomes of its calls is in `pending`.

    on_start ──> accepting ── nothing left / stop() / timeout / error / interrupt ──┐
                    ^ calls are accepted                                            v
                                    waits for what runs, or stops it ── on_finishing ── on_finished

A run is one object and is used once; the scheduler makes a new one each time.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from time import sleep
from typing import TYPE_CHECKING, Any

from amltk.events import Event
from amltk.plugins import plugin_manager
from amltk.scheduling.callbacks import Callbacks, Timer
from amltk.scheduling.exception_policy import Action, Policy
from amltk.scheduling.exit_state import Code, ExitState
from amltk.scheduling.failures import as_one, same_breakdown
from amltk.scheduling.pending import PendingCalls
from amltk.scheduling.view import View, keep_up_to_date

if TYPE_CHECKING:
    from amltk.scheduling.executor_source import ExecutorSource
    from amltk.scheduling.scheduler import Scheduler

logger = logging.getLogger("amltk")

TAKE_UP_SECONDS = 0.02
"""When a run is stopped and no call runs yet: the time for idle workers to begin calls submitted just before."""
GRACE_SECONDS = 2.0
"""How long cancelled `async def` callbacks may take to end, before the run ends without them."""

_WEIGHT = {Code.EXCEPTION: 1, Code.CANCELLED: 2}


class Run(PendingCalls):
    """One run of a scheduler: starts, accepts and delivers calls, and ends in good order."""

    def __init__(
        self,
        scheduler: Scheduler,
        source: ExecutorSource,
        *,
        policy: Policy,
        timeout: float | None,
        wait: bool,
        end_on_empty: bool,
        view: View | None,
    ) -> None:
        """Prepare a run, which `execute` performs; refresh the `view`, if given."""
        super().__init__(scheduler)
        self.callbacks = Callbacks(self)
        self._source = source
        self._policy = policy
        self._timeout = timeout
        self._wait = wait
        self._end_on_empty = end_on_empty
        self._view = view
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

    # Called by the scheduler and its tasks

    def stop(self, message: str, exception: BaseException | None) -> None:
        """End the run for `scheduler.stop()`; from any thread."""
        self.inbox.do(self._stop, message, exception)

    def interrupt(self, error: BaseException) -> None:
        """End the run at once and kill running calls, after Ctrl-C or a similar exception; from any thread."""
        self._asked_to_raise = error
        # An order, even in the loop's thread: a signal handler would not wake the loop.
        self.inbox.order(self.interrupted, error)

    def break_off(self) -> bool:
        """Make an ending run stop waiting; from any thread. Return False if it has not started yet."""
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
        """Run in the running loop until the end; then `conclude` returns or raises the outcome."""
        self._loop = asyncio.get_running_loop()
        self.inbox.belong_to(self._loop)
        self._executor = self._source.open_executor()
        view = self._view
        if view is not None:
            view.start()  # before the first event
        refreshing = None if view is None else self._loop.create_task(keep_up_to_date(view))
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

    def conclude(self) -> ExitState:
        """Return how the run ended, or raise its error.

        Not in `execute`: callbacks may raise `StopIteration`, which a coroutine cannot.
        """
        errors = as_one(self._errors) if self._errors else None
        if (interrupt := self._interrupt or self._asked_to_raise) is not None:  # which may have come too late
            raise interrupt from errors
        if errors is not None:
            raise errors
        return self.exit_state

    @property
    def worker_counts(self) -> Mapping[str, int]:
        """The executor's counts of its workers, such as `{"connected": 2}`; empty if it has none."""
        tell = getattr(self._executor, "worker_counts", None)
        counts: Mapping[str, int] = tell() if callable(tell) else {}
        return counts

    @property
    def exit_state(self) -> ExitState:
        """How the run ended."""
        return ExitState(self._code or Code.CANCELLED, self._exception)

    def _abandon(self) -> None:
        """Close the executor if the course of the run broke off before it could; otherwise do nothing."""
        executor, self._executor = self._executor, None
        if executor is not None:
            self.accepting = False
            self._killing = True
            self._source.abandon(executor)

    def _settle(self) -> None:
        """Finish the end of the run without waiting if its course broke off; otherwise do nothing."""
        if not self._last_events:
            return
        self.accepting = False
        self._feeders.clear()
        for timer in list(self.callbacks.timers):
            timer.cancel()
        for task in self.callbacks.coroutines:
            task.cancel()
        for source in list(self.waiting):
            self._deliver(source, abandoned=not source.done())
        self.give_up_deliveries()
        while self._last_events:
            self.scheduler.emit(self._last_events.pop(0))
        plugin_manager().hooks.amltk_run_finished(self.scheduler, self.exit_state)

    async def _course(self) -> None:
        scheduler = self.scheduler
        assert self._loop is not None
        timeout = None if self._timeout is None else self._loop.call_later(self._timeout, self._timed_out)
        ended_before = scheduler.event_counts[scheduler.FUTURE_DONE]
        self.accepting = True
        self._last_events = [scheduler.FINISHING, scheduler.FINISHED]
        plugin_manager().hooks.amltk_run_started(scheduler)
        scheduler.emit(scheduler.STARTED)
        self.inbox.open()
        if not self.waiting and not self._feeders:
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
        executor, self._executor = self._executor, None
        if executor is not None:
            await self._source.close(executor, wait=not self._leaving_work_behind)
        scheduler.emit(self._last_events.pop(0))
        await self.callbacks.settle()
        plugin_manager().hooks.amltk_run_finished(scheduler, self.exit_state)

    def _may_be_busy(self) -> bool:
        """Return whether workers of a run that ends at once may still prepare for calls that were cancelled."""
        return self._dropped and self._source.owned and (not self._wait or self._at_once.is_set())

    async def _until_idle(self) -> None:
        """Wait for calls and callbacks to end, until the run has to end at once."""
        assert self._loop is not None
        self.check_idle()
        events = [self._loop.create_task(event.wait()) for event in (self._idle, self._at_once)]
        await asyncio.wait(events, return_when=asyncio.FIRST_COMPLETED)
        for event in events:
            event.cancel()
        await asyncio.wait(events)

    async def _stop_what_runs(self) -> None:
        """Cancel waiting calls and kill running ones; afterwards every call has ended."""
        assert self._executor is not None
        self._cancel_what_waits()
        self.inbox.deliver()
        if (self.waiting or self._may_be_busy()) and self._source.kill is not None:
            self._killing = True
            await self._source.kill_calls(self._executor)
        await self._empty_inbox()
        stuck = [future for source, future in self.waiting.items() if not source.done()]
        if stuck:
            names = ", ".join(sorted({future.name for future in stuck}))
            logger.warning(
                "The run ends while %d call(s) run on, which %s cannot stop: %s. What they return is dropped.",
                len(stuck), self._source.label, names,
            )  # fmt: skip
        self._leaving_work_behind = bool(stuck)
        for source in list(self.waiting):
            self._deliver(source, abandoned=not source.done())
        if self.deliveries is not None:
            await self.deliveries.finish(GRACE_SECONDS)
            await self._empty_inbox()
            self.give_up_deliveries()
        await self.callbacks.cancel(GRACE_SECONDS)

    async def _empty_inbox(self) -> None:
        while not self.inbox.is_empty:
            self.inbox.deliver()
            await asyncio.sleep(0)

    # Events of the run

    def _end(self, code: Code, exception: BaseException | None = None) -> None:
        # An error explains the end better than an earlier code, and an interrupt better than an error.
        if self._code is None or _WEIGHT.get(code, 0) > _WEIGHT.get(self._code, 0):
            self._code = code
            self._exception = exception
        if self.accepting:
            self.accepting = False
            self._feeders.clear()
            self._drop_what_waits()
            self._ending.set()

    def _drop_what_waits(self) -> None:
        """Cancel the calls that no worker has begun: the run waits for running calls only.

        At once: an executor in the loop's own thread must not start the next one first.
        """
        if self._wait and self.waiting and not any(source.running() for source in self.waiting):
            sleep(TAKE_UP_SECONDS)
            if not self._source.tells_running and not any(source.running() for source in self.waiting):
                return  # any of them may run: this executor's futures may never report it
        self._cancel_what_waits()

    def _cancel_what_waits(self) -> None:
        for source in list(self.waiting):
            if not source.running():  # some executors can cancel running calls, too
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

    def _ran_empty(self) -> None:
        if self.accepting:
            self.scheduler.emit(self.scheduler.EMPTY)
        self.check_idle()

    def check_idle(self) -> None:
        """End the run, or its wait, if no call or callback is left."""
        if self.waiting or self.callbacks.coroutines:
            return
        if not self.accepting:
            self._idle.set()
        elif self._end_on_empty and not self.callbacks.timers and not self._feeders:
            self._end(Code.EXHAUSTED)

    def apply_policy(self, error: BaseException) -> Action:
        """Act on an exception as `on_exception=` says, and return the action."""
        action = self._policy.action(error)
        if action is Action.RAISE:
            self.fail(error)
        elif action is Action.END:
            self._end(Code.EXCEPTION, error)
        return action

    def fail(self, error: BaseException) -> None:
        """End the run, which then raises the error."""
        if not any(error is known or same_breakdown(error, known) for known in self._errors):
            self._errors.append(error)
        self._end(Code.EXCEPTION, error)
