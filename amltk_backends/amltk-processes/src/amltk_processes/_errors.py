"""What the pool says of calls that did not come back, and when it takes no more."""

from __future__ import annotations

import platform
import signal
from concurrent.futures import BrokenExecutor

from amltk.exceptions import AmltkError, WorkerDied
from amltk_processes._call import Call

_AGAIN = "All other calls go on. The task plugin Retry of amltk-retry runs such a call again."


class BrokenProcessPool(AmltkError, BrokenExecutor):  # noqa: N818 - the field's name for it
    """The pool can't go on: its initializer failed, or no process can be started. The cause is chained."""


def broken(cause: BaseException) -> BrokenProcessPool:
    """Return the error of each call that a broken pool has or is given; one for each, for tracebacks grow on it."""
    error = BrokenProcessPool(f"The process pool is broken and takes no more calls: {type(cause).__name__}: {cause}")
    error.__cause__ = cause
    return error


def died(call: Call, pid: int | None, how: str, code: int | None) -> WorkerDied:
    """Return the error of a call whose worker is gone, `how` being what became of the worker."""
    message = f"{call.describe()} ended with its worker, process {pid} on {platform.node()}, which {how}. {_AGAIN}"
    return WorkerDied(message, pid=pid, exit_code=code)


def killed(call: Call, pid: int | None, by: str) -> WorkerDied:
    """Return the error of a call that was ended on purpose, together with all others."""
    where = f", in process {pid} on {platform.node()}" if pid else ""
    return WorkerDied(f"{call.describe()} was ended by {by}{where}.", pid=pid)


def how_it_died(code: int | None) -> str:
    """Return what an exit code tells of a process, as the end of a sentence about it."""
    if code is None:
        return "is gone"
    if code >= 0:
        return f"exited with code {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:  # a real-time signal
        name = f"signal {-code}"
    return f"was killed by {name}" + (", perhaps because memory ran out" if name == "SIGKILL" else "")
