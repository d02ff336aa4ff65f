"""The callbacks of a run: handles their errors, awaits `async def` callbacks, and keeps the timers."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Mapping
from time import monotonic
from types import CoroutineType
from typing import TYPE_CHECKING, Any, Protocol

from amltk.events import Event, Handler
from amltk.events import handler as _handler
from amltk.exceptions import SchedulerNotRunningError, add_note, part_of
from amltk.scheduling.exception_policy import Action
from amltk.user_code import calls_user_code

if TYPE_CHECKING:
    from amltk.scheduling.inbox import Inbox

logger = logging.getLogger("amltk")

_CALL_LATER: Event[...] = Event("call_later", "A function given to call_later is due.")


class SupervisedRun(Protocol):
    """The part of a `Run` that its callbacks affect."""

    inbox: Inbox
    accepting: bool

    def apply_policy(self, error: BaseException) -> Action:
        """Act on an exception as `on_exception=` says, and return the action."""

    def fail(self, error: BaseException) -> None:
        """End the run, which raises the error."""

    def interrupted(self, error: BaseException) -> None:
        """End the run at once."""

    def check_idle(self) -> None:
        """End the run if nothing is left to do."""


class Timer:
    """A function that `scheduler.call_later` calls later."""

    __slots__ = ("_callbacks", "args", "cancelled", "handle", "handler", "kwargs")

    def __init__(
        self, callbacks: Callbacks, function: Callable[..., object], args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> None:
        """Make a timer, which `callbacks.start_timer` starts."""
        self._callbacks = callbacks
        self.handler = Handler(function)
        self.args = args
        self.kwargs = kwargs
        self.handle: asyncio.TimerHandle | None = None
        self.cancelled = False

    def cancel(self) -> None:
        """Cancel the call of the function, unless it has begun; from any thread."""
        self._callbacks.run.inbox.do(self._callbacks.cancel_timer, self)


class Callbacks:
    """The supervisor of a run's scheduler and tasks.

    Attributes:
        run: The run.
        timers: The timers that are not due yet.
        coroutines: The `async def` callbacks that have started and not ended.
    """

    def __init__(self, run: SupervisedRun) -> None:
        """Supervise the callbacks of `run`."""
        self.run = run
        self.timers: set[Timer] = set()
        self.coroutines: set[asyncio.Task[Any]] = set()

    def callback_failed(self, event: Event[...], handler: Handler, error: BaseException) -> None:
        """Handle the exception of a callback, by the policy of the run."""
        self.failed(f"The callback {handler.name} of {str(event)!r}", error)

    def failed(self, who: str, error: BaseException) -> None:
        """Handle an exception of the user's code in the thread of the run; `who` names that code."""
        if isinstance(error, SchedulerNotRunningError) and not self.run.accepting:
            return  # the run was ending already, which the callback could not know
        add_note(error, f"Raised by {who[0].lower()}{who[1:]}.")
        if isinstance(error, KeyboardInterrupt):
            self.run.interrupted(error)
        elif isinstance(error, SystemExit):
            self.run.fail(error)
        elif self.run.apply_policy(error) is Action.IGNORE:
            exc_info = type(error), error, part_of(error, "__traceback__")  # an exception may be false
            logger.error("%s raised; the run goes on, as on_exception= says.", who, exc_info=exc_info)

    def callback_blocked(self, event: Event[...], handler: Handler, seconds: float) -> None:
        """Log which callback blocks the run, since the run itself shows no reason."""
        logger.warning(
            "The callback %s of %r took %.1f s. While it runs, no other callback is called and no result delivered: "
            "submit such work as a task, or make the callback 'async def' and await what it waits for.",
            handler.name, str(event), seconds,
        )  # fmt: skip

    def callback_started(self, event: Event[...], handler: Handler, coroutine: Coroutine[Any, Any, Any]) -> None:
        """Await an `async def` callback."""
        task = asyncio.get_running_loop().create_task(self._await(event, handler, coroutine), name=handler.name)
        self.coroutines.add(task)

        def ended(task: asyncio.Task[Any]) -> None:
            self.coroutines.discard(task)
            self.run.check_idle()

        task.add_done_callback(ended)

    @calls_user_code
    async def _await(self, event: Event[...], handler: Handler, coroutine: Coroutine[Any, Any, Any]) -> None:
        try:
            await coroutine
        except asyncio.CancelledError:
            raise
        except BaseException as error:  # SystemExit would be raised through the loop, by a task
            self.callback_failed(event, handler, error)

    async def settle(self) -> None:
        """Wait for the `async def` callbacks that have started."""
        if self.coroutines:
            await asyncio.wait(self.coroutines)

    async def cancel(self, seconds: float) -> None:
        """Cancel the `async def` callbacks that have started; wait for them for some seconds."""
        for task in self.coroutines:
            task.cancel()
        if self.coroutines:
            await asyncio.wait(self.coroutines, timeout=seconds)
        if self.coroutines:
            names = ", ".join(sorted({task.get_name() for task in self.coroutines}))
            msg = "The run ends without async callbacks that have not ended %g s after they were cancelled: %s."
            logger.warning(msg, seconds, names)
            self.coroutines.clear()

    def start_timer(self, timer: Timer, delay: float) -> None:
        """Start a timer; in the thread of the loop."""
        if self.run.accepting and not timer.cancelled:
            timer.handle = asyncio.get_running_loop().call_later(delay, self._due, timer)
            self.timers.add(timer)

    def cancel_timer(self, timer: Timer) -> None:
        """Cancel a timer; in the thread of the loop."""
        timer.cancelled = True
        if timer.handle is not None:
            timer.handle.cancel()
        self.timers.discard(timer)
        self.run.check_idle()

    @calls_user_code
    def _due(self, timer: Timer) -> None:
        self.timers.discard(timer)
        begun = monotonic()
        try:
            outcome = timer.handler.callback(*timer.args, **timer.kwargs)
            if type(outcome) is CoroutineType:
                self.callback_started(_CALL_LATER, timer.handler, outcome)
        except BaseException as error:
            self.callback_failed(_CALL_LATER, timer.handler, error)
        if (seconds := monotonic() - begun) > _handler.BLOCKING_SECONDS:
            self.callback_blocked(_CALL_LATER, timer.handler, seconds)
        self.run.check_idle()
