"""Threads that are prepared before their first call."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures.thread import BrokenThreadPool
from typing import Any, ParamSpec, TypeVar

from amltk.exceptions import text_of

P = ParamSpec("P")
T = TypeVar("T")


class PreparedThreads(ThreadPoolExecutor):
    """A `ThreadPoolExecutor` whose errors tell why its initializer failed; the standard one only logs it."""

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
        return super().submit(self._call, fn, args, kwargs)

    def _call(self, fn: Callable[..., T], args: tuple[Any, ...], kwargs: dict[str, Any]) -> T:
        if not hasattr(self._of_this_thread, "prepared"):
            self._of_this_thread.prepared = True
            try:
                self._prepare(*self._prepare_args)
            except BaseException as error:  # whatever it is, no call can begin
                self._failures.append(error)
        self._check()
        return fn(*args, **kwargs)

    def _check(self) -> None:
        if self._failures:
            first = self._failures[0]  # for all calls the same, so that a run sees that it is one breakdown
            said = f"{type(first).__name__}: {text_of(first)}"
            msg = f"The thread pool is broken and takes no more calls: its initializer raised {said}"
            raise BrokenThreadPool(msg) from first
