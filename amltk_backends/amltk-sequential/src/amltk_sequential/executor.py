"""An executor without any parallelism."""

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
    """The future of a call, which reports when the call ran."""

    def __init__(self) -> None:
        """Be pending."""
        super().__init__()
        self.timer = ExecutionTimer()

    @property
    def execution(self) -> Execution | None:
        """When the call began and ended; None before it begins."""
        return self.timer.execution


class SequentialExecutor(Executor):
    """Runs each call in the thread that submits it, one after the other: for finding mistakes.

    Where an event loop is running, as in a run of a scheduler, calls wait in a queue, and the loop
    gets its turn between two of them, so that timers and callbacks work and no chain of calls,
    however long, becomes a recursion. Without a loop, `submit` runs the call before it returns.
    """

    def __init__(self) -> None:
        """Start with nothing to do."""
        self._queue: deque[tuple[SequentialFuture[Any], Callable[[], Any]]] = deque()
        self._scheduled = False
        self._shut_down = False

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Run `fn`, or queue it where an event loop is running.

        Raises:
            RuntimeError: The executor was shut down.
        """
        from asyncio import get_running_loop  # to list backends, nobody needs to load it

        if self._shut_down:
            msg = "This SequentialExecutor was shut down and takes no more calls; make a new one."
            raise RuntimeError(msg)
        future: SequentialFuture[T] = SequentialFuture()
        self._queue.append((future, functools.partial(fn, *args, **kwargs)))
        try:
            loop = get_running_loop()
        except RuntimeError:
            while not future.done():  # a loop that has ended may have left others before it
                self._run_next()
        else:
            if not self._scheduled:
                self._schedule(loop)
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more calls; with `cancel_futures`, cancel those that wait, else run them now, if `wait`."""
        self._shut_down = True
        if cancel_futures:
            for future, _ in self._queue:
                future.cancel()
        while wait and self._queue:
            self._run_next()

    def _schedule(self, loop: asyncio.AbstractEventLoop) -> None:
        self._scheduled = True
        # Two turns of the loop: timers that have become due in the meantime come in the first.
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
                # Inside, since `contextlib` assigns to what passes through it, which a frozen dataclass refuses.
                result, error = _outcome(call)
        except KeyboardInterrupt as interrupt:  # it came too late for the call
            error = interrupt
        future.timer.stop()
        if error is not None:
            future.set_exception(error)
            del error  # its traceback has this frame
        else:
            future.set_result(result)


@calls_user_code
def _outcome(call: Callable[[], Any]) -> tuple[Any, BaseException | None]:
    """Return what a call returns and what it raises, of which one is None."""
    try:
        return call(), None
    except BaseException as raised:  # whatever it raises is the call's outcome, SystemExit too
        return None, raised


@contextmanager
def _ctrl_c_reaches_the_call() -> Iterator[None]:
    """Let Ctrl-C interrupt the call at once, as it would without us, besides what it means to a run.

    The run's own handler can do no more than take note while its thread is busy with the call.
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
