"""Thread pools whose futures report when calls ran, with and without an initializer."""

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
    """A future that reports where and when its call runs."""

    _timer: ExecutionTimer

    @property
    def execution(self) -> Execution | None:
        """Where and when the call began and ended; None before it begins."""
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
        """Call `fn` in a thread.

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
    """A thread pool whose errors have the initializer's exception as their cause; the standard one only logs it."""

    def __init__(
        self, max_workers: int | None, prefix: str, prepare: Callable[..., object], prepare_args: tuple[Any, ...]
    ) -> None:
        """Make the pool.

        Args:
            max_workers: Maximum number of threads; None for the default of `ThreadPoolExecutor`.
            prefix: The prefix of the threads' names.
            prepare: The initializer.
            prepare_args: The initializer's arguments.
        """
        super().__init__(max_workers, prefix)
        self._prepare = prepare
        self._prepare_args = prepare_args
        self._of_this_thread = threading.local()
        self._failures: list[BaseException] = []

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Call `fn` in a thread, after the initializer if it is that thread's first call.

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
            except BaseException as error:  # no call can begin, whatever it is
                self._failures.append(error)
        self._check()
        return timer(fn, *args, **kwargs)  # without the time of the initializer

    def _check(self) -> None:
        if self._failures:
            first = self._failures[0]  # the same for all calls, so that a run sees one cause
            said = f"{type(first).__name__}: {text_of(first)}"
            msg = f"The thread pool is broken and takes no more calls: its initializer raised {said}"
            raise BrokenThreadPool(msg) from first
