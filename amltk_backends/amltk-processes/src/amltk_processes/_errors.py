"""The errors of calls whose worker was lost or ended, and of a broken pool."""

from __future__ import annotations

import contextlib
import platform
from collections.abc import Callable
from concurrent.futures import BrokenExecutor

from amltk.exceptions import CallTimeoutError, WorkerDied, WorkerLost
from amltk.remote.worker_errors import OTHERS_GO_ON, RUN_AGAIN, WorkerExit, executor_broken, worker_died
from amltk_processes._call import Call
from amltk_processes._fork_server import WorkerEvent

_AGAIN = f"{OTHERS_GO_ON} {RUN_AGAIN}"
_AGAIN_LATE = _AGAIN.replace("Retry", "Retry(on=CallTimeoutError)")

MakesError = Callable[..., BaseException]
"""A function of this module that takes a call, its worker's process id, and more."""


def broken(cause: BaseException) -> BaseException:
    """Return the error of a call in a broken pool; a new one for each call, as each gets its own traceback."""
    kind: type[BrokenExecutor] = BrokenExecutor
    with contextlib.suppress(ImportError, OSError):  # the pool may be broken because no descriptor is left
        from amltk_processes._broken import BrokenProcessPool

        kind = BrokenProcessPool
    return executor_broken(cause, kind, "The process pool is broken and takes no more calls: ")


def died(call: Call, pid: int | None, how: str, event: WorkerEvent | None) -> WorkerDied:
    """Return the error of a call whose worker is gone.

    Args:
        call: The call that the worker ran.
        pid: The worker's process id.
        how: How the worker ended, as the end of a sentence about it.
        event: The fork server's report of the exit, if there is one.
    """
    ended = WorkerExit(pid, event.code, event.out_of_memory, event.stderr_tail) if event else WorkerExit(pid)
    return worker_died(call, f"process {pid} on {platform.node()}", ended, how=how)


def _ended(gone: bool) -> str:
    return "was ended, with all that it had started" if gone else "was to be ended, but may still be there"


def timed_out(call: Call, pid: int | None, *, gone: bool = True) -> CallTimeoutError:
    """Return the error of a call that took longer than its time limit."""
    assert call.timeout is not None
    message = (
        f"{call.describe()} took longer than its limit of {call.timeout:g} s: its worker, process {pid} on "
        f"{platform.node()}, {_ended(gone)}. Set a longer limit, or make the call shorter. {_AGAIN_LATE}"
    )
    return CallTimeoutError(message, timeout=call.timeout, pid=pid)


def lost(call: Call, pid: int | None, *, timeout: float, gone: bool = True) -> WorkerLost:
    """Return the error of a call whose worker gave no sign of life for `timeout` seconds."""
    message = (
        f"{call.describe()} is lost: its worker, process {pid} on {platform.node()}, gave no sign of life for "
        f"{timeout:g} s and {_ended(gone)}. The process was stopped, or compiled code held the interpreter's lock. "
        f"Set heartbeat_timeout longer than your longest such section. {_AGAIN}"
    )
    return WorkerLost(message, pid=pid)


def closed(call: Call, pid: int | None, *, gone: bool = True) -> WorkerDied:
    """Return the error of a call whose worker closed its connection and did not exit."""
    message = (
        f"{call.describe()} is lost: its worker, process {pid} on {platform.node()}, closed its connection to the main "
        f"process, did not exit, and {_ended(gone)}. The call, or a library, closed or replaced descriptors that it "
        f"had not opened, by os.closerange(3, 256), for example. {_AGAIN}"
    )
    return WorkerDied(message, pid=pid)


def killed(call: Call, pid: int | None, *, gone: bool = True) -> WorkerDied:
    """Return the error of a call that `kill_calls` or `kill_workers` has ended."""
    where = f", in process {pid} on {platform.node()}" if pid else ""
    so = ", with all that it had started" if gone else "; that process may still be there"
    message = f"{call.describe()} was ended by kill_calls() or kill_workers(){where}{so}."
    return WorkerDied(message, pid=pid)
