"""Threads that report when they run calls, and that can be prepared before their first call."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures.thread import BrokenThreadPool
from typing import Any, ParamSpec, TypeVar

from amltk.backend import Execution, ExecutionTimer
from amltk.exceptions import text_of

P = ParamSpec("P")
T = TypeVar("T")


class ThreadFuture(Future[T]):
    """The future of a call, which reports where and when the call runs."""

    _timer: ExecutionTimer

    @property
    def execution(self) -> Execution | None:
        """When the call began and ended, and in which thread; None before it begins."""
        return self._timer.execution


class _TimedCall(ExecutionTimer):
    __slots__ = ()

    def __call__(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        self.start()
        try:
            return fn(*args, **kwargs)
        finally:
            self.stop()


class TimedThreads(ThreadPoolExecutor):
    """A `ThreadPoolExecutor` whose futures are `ThreadFuture`."""

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Have `fn` called in a thread.

        Raises:
            RuntimeError: The executor was shut down.
        """
        timer = _TimedCall()
        return _reporting(super().submit(timer, fn, *args, **kwargs), timer)


def _reporting(future: Future[T], timer: ExecutionTimer) -> Future[T]:
    # The standard executor makes its futures itself. This class adds a property, and changes no other behaviour.
    future.__class__ = ThreadFuture
    future._timer = timer  # type: ignore[attr-defined] # it is a `ThreadFuture` now
    return future


class PreparedThreads(ThreadPoolExecutor):
    """Threads whose errors tell why their initializer failed; the standard executor only logs it."""

    def __init__(
        self, max_workers: int | None, prefix: str, prepare: Callable[..., object], prepare_args: tuple[Any, ...]
    ) -> None:
        """Take what `ThreadPoolExecutor` takes, an initializer included."""
        super().__init__(max_workers, prefix)
        self._prepare = prepare
        self._prepare_args = prepare_args
        self._of_this_thread = threading.local()
        self._failures: list[BaseException] = []

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Have `fn` called in a thread, after the initializer if it is that thread's first call.

        Raises:
            BrokenThreadPool: The initializer failed in one of the threads; its exception is the cause.
            RuntimeError: The executor was shut down.
        """
        self._check()
        timer = _TimedCall()
        return _reporting(super().submit(self._call, timer, fn, args, kwargs), timer)

    def _call(self, timer: _TimedCall, fn: Callable[..., T], args: tuple[Any, ...], kwargs: dict[str, Any]) -> T:
        if not hasattr(self._of_this_thread, "prepared"):
            self._of_this_thread.prepared = True
            try:
                self._prepare(*self._prepare_args)
            except BaseException as error:  # whatever it is, no call can begin
                self._failures.append(error)
        self._check()
        return timer(fn, *args, **kwargs)  # the time of the initializer is none of the call's

    def _check(self) -> None:
        if self._failures:
            first = self._failures[0]  # for all calls the same, so that a run sees that it is one breakdown
            said = f"{type(first).__name__}: {text_of(first)}"
            msg = f"The thread pool is broken and takes no more calls: its initializer raised {said}"
            raise BrokenThreadPool(msg) from first
