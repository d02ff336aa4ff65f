"""The backend `threads`."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor
from typing import Any, ClassVar

from amltk.backend import Backend, Capabilities
from amltk.checks import check_callable, check_int, check_type

AMLTK_CONTRACT = 1


class Threads(Backend):
    """The backend `threads`."""

    name: ClassVar[str] = "threads"
    summary: ClassVar[str] = "Threads of this process: for work that waits or releases the interpreter's lock."
    capabilities: ClassVar[Capabilities] = Capabilities(
        takes_any_function=True, carries_any_exception=True, reports_execution=True
    )

    def __init__(
        self,
        max_workers: int | None = None,
        *,
        thread_name_prefix: str = "",
        initializer: Callable[..., object] | None = None,
        initargs: tuple[Any, ...] = (),
    ) -> None:
        """Run calls in threads of this process.

        Use it for work that waits, or that releases the interpreter's lock. A thread can't be stopped
        from outside: with `wait=False`, the run ends while running calls continue.

        Args:
            max_workers: Maximum number of threads; by default as many as `ThreadPoolExecutor` has.
            thread_name_prefix: The prefix of the threads' names.
            initializer: Called in each thread before its first call. If it raises, the pool is broken and
                every call fails, with that exception as the cause.
            initargs: The arguments of `initializer`.
        """
        check_int("max_workers", max_workers, at_least=1, or_none=True)
        check_type("thread_name_prefix", thread_name_prefix, str)
        if initializer is not None:
            check_callable("initializer", initializer)
        check_type("initargs", initargs, tuple)
        self._max_workers = max_workers
        self._thread_name_prefix = thread_name_prefix
        self._initializer = initializer
        self._initargs = initargs

    def open(self) -> Executor:
        """Return the executor of a run."""
        from amltk_threads.executor import PreparedThreads, TimedThreads  # imported at its first use, as in any backend

        if self._initializer is None:
            return TimedThreads(self._max_workers, self._thread_name_prefix)
        return PreparedThreads(self._max_workers, self._thread_name_prefix, self._initializer, self._initargs)
