"""An executor that costs as little as an executor can, so that a scheduler's own cost is seen."""

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
    """One thread that runs each call as soon as it comes.

    Args:
        held: Run nothing before `release()`, so that calls queue up.
        reverse: Run the calls that were held in reverse order.
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
        """Begin to run what is queued."""
        self._released.set()

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Queue a call."""
        future: Future[T] = Future()
        self._queue.put((future, fn, args, kwargs))
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: ARG002 - nothing is left to cancel
        """Run what is queued, then end the thread."""
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
            del call  # memory is given back as calls end, as in other executors


def _run(call: _Call) -> None:
    future, function, args, kwargs = call
    if not future.set_running_or_notify_cancel():
        return
    try:
        result = function(*args, **kwargs)
    except BaseException as error:  # as any executor does: it is the call's outcome
        future.set_exception(error)
    else:
        future.set_result(result)
