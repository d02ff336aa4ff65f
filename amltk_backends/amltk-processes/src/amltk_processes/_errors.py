"""What the pool says of calls that did not come back, and when it takes no more."""

from __future__ import annotations

import platform
import textwrap
from concurrent.futures import BrokenExecutor

from amltk.exceptions import AmltkError, CallTimeoutError, WorkerDied, WorkerLost, text_of
from amltk_processes._call import Call
from amltk_processes._fork_server import Report

_AGAIN = "All other calls go on. The task plugin Retry of amltk-retry runs such a call again."
_AGAIN_LATE = _AGAIN.replace("Retry", "Retry(on=CallTimeoutError)")


class BrokenProcessPool(AmltkError, BrokenExecutor):  # noqa: N818 - the field's name for it
    """The pool can't go on: its initializer failed, or no process can be started. The cause is chained."""


def broken(cause: BaseException) -> BrokenProcessPool:
    """Return the error of each call that a broken pool has or is given; one for each, for tracebacks grow on it."""
    error = BrokenProcessPool(
        f"The process pool is broken and takes no more calls: {type(cause).__name__}: {text_of(cause)}"
    )
    error.__cause__ = cause
    return error


def died(call: Call, pid: int | None, how: str, report: Report | None) -> WorkerDied:
    """Return the error of a call whose worker is gone.

    Args:
        call: The call that it ran.
        pid: Of the worker.
        how: What became of the worker, as the end of a sentence about it.
        report: The fork server's, if it could tell.
    """
    message = f"{call.describe()} ended with its worker, process {pid} on {platform.node()}, which {how}. {_AGAIN}"
    if report is None:
        return WorkerDied(message, pid=pid)
    if report.stderr:
        message += f"\nThe last that this process wrote to stderr:\n{textwrap.indent(report.stderr, '    ')}"
    return WorkerDied(
        message, pid=pid, exit_code=report.code, out_of_memory=report.out_of_memory is True, stderr=report.stderr
    )


def timed_out(call: Call, pid: int | None) -> CallTimeoutError:
    """Return the error of a call that took longer than it was allowed."""
    assert call.timeout is not None
    message = (
        f"{call.describe()} took longer than its limit of {call.timeout:g} s and was ended, in process {pid} on "
        f"{platform.node()}, with all that it had started. Give it more time, or less to do. {_AGAIN_LATE}"
    )
    return CallTimeoutError(message, timeout=call.timeout, pid=pid)


def lost(call: Call, pid: int | None, *, timeout: float) -> WorkerLost:
    """Return the error of a call whose worker gave no sign of life for `timeout` seconds."""
    message = (
        f"{call.describe()} is lost: its worker, process {pid} on {platform.node()}, gave no sign of life for "
        f"{timeout:g} s and was ended, with all that it had started. Somebody stopped it, or compiled code kept the "
        f"interpreter's lock for so long; if that is usual, have a longer heartbeat_timeout. {_AGAIN}"
    )
    return WorkerLost(message, pid=pid)


def killed(call: Call, pid: int | None) -> WorkerDied:
    """Return the error of a call that was ended on purpose, together with all others."""
    where = f", in process {pid} on {platform.node()}" if pid else ""
    message = f"{call.describe()} was ended by kill_calls() or kill_workers(){where}, with all that it had started."
    return WorkerDied(message, pid=pid)
