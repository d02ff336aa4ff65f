"""An executor that runs one call after the other."""

from __future__ import annotations

import functools
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from amltk.backend import Execution, ExecutionTimer
from amltk.user_code import calls_user_code

if TYPE_CHECKING:
    import asyncio

P = ParamSpec("P")
T = TypeVar("T")


class SequentialFuture(Future[T]):
    """A future that reports when its call ran."""

    def __init__(self) -> None:
        """Make a pending future."""
        super().__init__()
        self.timer = ExecutionTimer()

    @property
    def execution(self) -> Execution | None:
        """When the call began and ended; None before it begins."""
        return self.timer.execution


class SequentialExecutor(Executor):
    """Runs each call in the thread that submits it, one after the other: for debugging.

    In a running event loop, as in a run of a scheduler, calls wait in a queue, and the loop gets its turn
    between two of them. So timers and callbacks work, and a long chain of calls is no recursion. Without a
    loop, `submit` runs the call before it returns.
    """

    def __init__(self) -> None:
        """Make an executor with an empty queue."""
        self._queue: deque[tuple[SequentialFuture[Any], Callable[[], Any]]] = deque()
        self._scheduled = False
        self._shut_down = False

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Run `fn`, or queue it if an event loop is running.

        Raises:
            RuntimeError: The executor was shut down.
        """
        from asyncio import get_running_loop  # not needed to list backends

        if self._shut_down:
            msg = "This SequentialExecutor was shut down and takes no more calls; make a new one."
            raise RuntimeError(msg)
        future: SequentialFuture[T] = SequentialFuture()
        self._queue.append((future, functools.partial(fn, *args, **kwargs)))
        try:
            loop = get_running_loop()
        except RuntimeError:
            while not future.done():  # an ended loop may have left calls before it
                self._run_next()
        else:
            if not self._scheduled:
                self._schedule(loop)
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Accept no more calls. `cancel_futures` cancels the waiting ones; else `wait` runs them now."""
        self._shut_down = True
        if cancel_futures:
            for future, _ in self._queue:
                future.cancel()
        while wait and self._queue:
            self._run_next()

    def _schedule(self, loop: asyncio.AbstractEventLoop) -> None:
        self._scheduled = True
        # Two turns of the loop: timers that are due now run in the first.
        loop.call_soon(loop.call_soon, self._take_turn, loop)

    def _take_turn(self, loop: asyncio.AbstractEventLoop) -> None:
        self._scheduled = False
        self._run_next()
        if self._queue and not self._scheduled:
            self._schedule(loop)

    def _run_next(self) -> None:
        if not self._queue:
            return
        future, call = self._queue.popleft()
        if not future.set_running_or_notify_cancel():
            return
        error = result = None
        future.timer.start()
        try:
            with _ctrl_c_reaches_the_call():
                # Catch inside: `contextlib` sets attributes of what passes, which fails for a frozen dataclass.
                result, error = _outcome(call)
        except KeyboardInterrupt as interrupt:  # after the call's end
            error = interrupt
        future.timer.stop()
        if error is not None:
            future.set_exception(error)
            del error  # its traceback refers to this frame
        else:
            future.set_result(result)


@calls_user_code
def _outcome(call: Callable[[], Any]) -> tuple[Any, BaseException | None]:
    """Call it; return its result and its exception, one of them None."""
    try:
        return call(), None
    except BaseException as raised:  # any exception is the call's outcome, also SystemExit
        return None, raised


@contextmanager
def _ctrl_c_reaches_the_call() -> Iterator[None]:
    """Let Ctrl-C interrupt the call at once, in addition to the run's own handler.

    The run's handler can only take note while its thread runs the call.
    """
    before = signal.getsignal(signal.SIGINT)
    in_main_thread = threading.current_thread() is threading.main_thread()
    if not in_main_thread or not callable(before) or before is signal.default_int_handler:
        yield
        return

    def handle(number: int, frame: FrameType | None) -> None:
        before(number, frame)
        raise KeyboardInterrupt

    signal.signal(signal.SIGINT, handle)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
