"""An executor with the lowest possible cost, so that the scheduler's own cost shows."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future
from queue import SimpleQueue
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

_Call = tuple[Future[Any], Callable[..., Any], tuple[Any, ...], dict[str, Any]]


class InstantExecutor(Executor):
    """One thread that runs each call at once.

    Args:
        held: Run nothing before `release()`, so that calls queue up.
        reverse: Run the held calls in reverse order.
    """

    def __init__(self, *, held: bool = False, reverse: bool = False) -> None:
        self._reverse = reverse
        self._queue: SimpleQueue[_Call | None] = SimpleQueue()
        self._released = threading.Event()
        if not held:
            self._released.set()
        self._thread = threading.Thread(target=self._work, name="instant")
        self._thread.start()

    def release(self) -> None:
        """Start to run the queued calls."""
        self._released.set()

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Queue a call."""
        future: Future[T] = Future()
        self._queue.put((future, fn, args, kwargs))
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: ARG002 - nothing is left to cancel
        """Run the queued calls, then end the thread."""
        self._queue.put(None)
        self.release()
        if wait:
            self._thread.join()

    def _work(self) -> None:
        self._released.wait()
        if self._reverse:
            held = [self._queue.get() for _ in range(self._queue.qsize())]
            while held:
                self._queue.put(held.pop())
        while (call := self._queue.get()) is not None:
            _run(call)
            del call  # memory is freed as calls end, as in other executors


def _run(call: _Call) -> None:
    future, function, args, kwargs = call
    if not future.set_running_or_notify_cancel():
        return
    try:
        result = function(*args, **kwargs)
    except BaseException as error:  # as in any executor, it is the call's outcome
        future.set_exception(error)
    else:
        future.set_result(result)
