"""Registers the backend `sequential`."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor

from amltk.backend import Backend, Capabilities
from amltk.hookspecs import hookimpl

AMLTK_CONTRACT = 1


def sequential() -> Executor:
    """Run one call after the other, in the thread of the run: for debugging.

    The event loop gets a turn between two calls, so callbacks, timeouts and `stop()` work; a call
    that has begun can't be interrupted by them.
    """
    from amltk_sequential.executor import SequentialExecutor  # imported when it is used, as with any backend

    return SequentialExecutor()


@hookimpl
def amltk_register_backends(register: Callable[[Backend], None]) -> None:
    """Register the backend `sequential`."""
    register(
        Backend(
            name="sequential",
            summary="One call after the other in this thread: for debugging.",
            create=sequential,
            capabilities=Capabilities(
                takes_any_function=True, carries_any_exception=True, blocks_the_run=True, reports_execution=True
            ),
            needs_main_thread=False,
        )
    )
