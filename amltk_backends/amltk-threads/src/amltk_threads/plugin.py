"""Registers the backend `threads`."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor
from typing import Any

from amltk.backend import Backend, Capabilities
from amltk.checks import check_callable, check_int, check_type
from amltk.hookspecs import hookimpl

AMLTK_CONTRACT = 1


def threads(
    max_workers: int | None = None,
    *,
    thread_name_prefix: str = "",
    initializer: Callable[..., object] | None = None,
    initargs: tuple[Any, ...] = (),
) -> Executor:
    """Run calls in threads of this process.

    For work that waits, or that lets go of the interpreter's lock. A thread can't be stopped from
    outside: with `wait=False`, the run ends while the thread's call runs on.

    Args:
        max_workers: How many threads there are at most; as many as `ThreadPoolExecutor` has by
            default, if not given.
        thread_name_prefix: What the threads' names begin with.
        initializer: Called in each thread before its first call. If it raises, the pool is broken and
            every call fails, with that exception as the cause.
        initargs: Passed to `initializer`.
    """
    from amltk_threads.executor import PreparedThreads, TimedThreads  # what a backend wraps is imported when used

    if initializer is None:
        return TimedThreads(max_workers, thread_name_prefix)
    return PreparedThreads(max_workers, thread_name_prefix, initializer, initargs)


def _check(
    max_workers: int | None = None,
    *,
    thread_name_prefix: str = "",
    initializer: Callable[..., object] | None = None,
    initargs: tuple[Any, ...] = (),
) -> None:
    check_int("max_workers", max_workers, at_least=1, or_none=True)
    check_type("thread_name_prefix", thread_name_prefix, str)
    if initializer is not None:
        check_callable("initializer", initializer)
    check_type("initargs", initargs, tuple)


@hookimpl
def amltk_register_backends(register: Callable[[Backend], None]) -> None:
    """Register the backend `threads`."""
    register(
        Backend(
            name="threads",
            summary="Threads of this process: for work that waits or releases the interpreter's lock.",
            create=threads,
            check=_check,
            capabilities=Capabilities(takes_any_function=True, carries_any_exception=True, reports_execution=True),
        )
    )
