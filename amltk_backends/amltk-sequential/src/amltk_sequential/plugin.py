"""The backend `sequential`."""

from __future__ import annotations

from concurrent.futures import Executor
from typing import ClassVar

from amltk.backend import Backend, Capabilities

AMLTK_CONTRACT = 1


class Sequential(Backend):
    """Run one call after the other, in the thread of the run: for debugging.

    The event loop gets a turn between two calls, so callbacks, timeouts and `stop()` work then. They
    can't interrupt a running call.
    """

    name: ClassVar[str] = "sequential"
    summary: ClassVar[str] = "One call after the other in this thread: for debugging."
    capabilities: ClassVar[Capabilities] = Capabilities(
        takes_any_function=True, carries_any_exception=True, blocks_the_run=True, reports_execution=True
    )
    needs_main_thread: ClassVar[bool] = False

    def open(self) -> Executor:
        """Return the executor of a run."""
        from amltk_sequential.executor import SequentialExecutor  # imported at its first use, as in any backend

        return SequentialExecutor()
