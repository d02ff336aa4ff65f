"""What the pool says of calls that did not come back, and when it takes no more."""

from __future__ import annotations

import platform
import signal
import textwrap
from concurrent.futures import BrokenExecutor

from amltk.exceptions import AmltkError, CallTimeoutError, WorkerDied, WorkerLost
from amltk_processes._call import Call
from amltk_processes._fork_server import Report

# People and batch systems end programs in these ways, which are no crashes.
_ASKED = "was asked to end by {name}, as batch systems do when the time is up or the machine is needed"
_AGAIN = "All other calls go on. The task plugin Retry of amltk-retry runs such a call again."
_AGAIN_LATE = _AGAIN.replace("Retry", "Retry(on=CallTimeoutError)")


class BrokenProcessPool(AmltkError, BrokenExecutor):  # noqa: N818 - the field's name for it
    """The pool can't go on: its initializer failed, or no process can be started. The cause is chained."""


def broken(cause: BaseException) -> BrokenProcessPool:
    """Return the error of each call that a broken pool has or is given; one for each, for tracebacks grow on it."""
    error = BrokenProcessPool(f"The process pool is broken and takes no more calls: {type(cause).__name__}: {cause}")
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


_WHY = {
    **dict.fromkeys(("SIGTERM", "SIGUSR1", "SIGUSR2", "SIGHUP", "SIGINT"), _ASKED),
    "SIGXCPU": "was ended by {name}: its limit of CPU time was used up",
    **dict.fromkeys(("SIGSEGV", "SIGBUS", "SIGFPE", "SIGILL", "SIGABRT", "SIGSYS"), "crashed ({name}: {text})"),
}
_WHY_KILLED = {
    True: "was killed by SIGKILL because memory ran out: have fewer workers or smaller calls, or ask for more memory",
    False: "was killed by SIGKILL, which somebody sent: the kernel reports no lack of memory",
    None: "was killed by SIGKILL, perhaps because memory ran out",
}


def how_it_died(code: int | None, out_of_memory: bool | None = None) -> str:
    """Return what is known of the end of a process, as the end of a sentence about it.

    Args:
        code: Its exit code, negative for a signal; None if it isn't known.
        out_of_memory: Whether the kernel killed it because memory ran out; None if that can't be known.
    """
    if code is None:
        return "is gone"
    if code >= 0:
        return f"exited with code {code}"
    if -code == signal.SIGKILL:
        return _WHY_KILLED[out_of_memory]
    try:
        name = signal.Signals(-code).name
    except ValueError:  # a real-time signal
        name = f"signal {-code}"
    return _WHY.get(name, "was killed by {name}").format(name=name, text=signal.strsignal(-code))
