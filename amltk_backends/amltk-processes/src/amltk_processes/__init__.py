"""A backend of amltk: processes of this machine.

`ProcessPoolExecutor` works without a scheduler too. It is imported on first use, so that listing
backends stays cheap.
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False  # the first worker's start would wait for `typing` to be imported
if TYPE_CHECKING:
    from typing import Any

    from amltk_processes._broken import BrokenProcessPool
    from amltk_processes.executor import ProcessPoolExecutor

__all__ = ["BrokenProcessPool", "ProcessPoolExecutor"]


def why_unavailable() -> str:
    """Return why the pool can't run on this system; an empty string where it can."""
    if hasattr(os, "waitid"):
        return ""
    return (
        f"amltk-processes runs on Linux, and this is {sys.platform}, with a Python that lacks os.waitid. "
        f"Use an executor that it has: Scheduler(concurrent.futures.ProcessPoolExecutor()), say."
    )


def __getattr__(name: str) -> Any:
    if name not in __all__:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    if msg := why_unavailable():
        raise ImportError(msg)
    from amltk_processes import executor

    return getattr(executor, name)
