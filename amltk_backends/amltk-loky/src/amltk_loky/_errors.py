"""What is said of calls that did not come back."""

from __future__ import annotations

import errno
import os
import platform
import resource
import textwrap
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

from amltk.exceptions import WorkerDied, text_of
from amltk.remote.worker_exit import describe_exit
from amltk_loky._call import Call
from amltk_loky._pool import WorkerExit

_OTHERS = "All other calls go on."
_SHARED = (
    "It was in loky's reusable pool, where one worker that dies ends all calls that run, and loky does not tell which "
    "of them it was; those that waited go on, each worker in a pool of its own."
)
_LIMITS = {
    errno.EMFILE: (resource.RLIMIT_NOFILE, "open files ('ulimit -n'), of which a worker takes 15"),
    errno.EAGAIN: (resource.RLIMIT_NPROC, "processes and threads of this user ('ulimit -u')"),
}
_NO_DIRECTORY = (
    "loky starts its workers in the program's current directory, which has been deleted. Change to one that exists, "
    "with os.chdir(), before the run."
)
_AGAIN = "The task plugin Retry of amltk-retry runs such a call again."


def broken(cause: BaseException) -> BrokenProcessPool:
    """Return the error of each call that a broken executor has or is given; one for each, for tracebacks grow on it."""
    message = (
        f"The pool is broken and takes no more calls: its initializer raised {type(cause).__name__}: {text_of(cause)}"
    )
    error = BrokenProcessPool(message)
    error.__cause__ = cause
    return error


def died(call: Call, death: WorkerExit, *, out_of_memory: bool | None, shared: bool) -> WorkerDied:
    """Return the error of a call whose worker is gone."""
    how = describe_exit(death.exit_code, out_of_memory)
    message = (
        f"{call.describe()} ended with its worker, process {death.pid} on {platform.node()}, which {how}. "
        f"{_SHARED if shared else _OTHERS} {_AGAIN}"
    )
    if death.wrote:
        message += f"\nThe last that this process wrote to stderr:\n{textwrap.indent(death.wrote, '    ')}"
    return WorkerDied(
        message, pid=death.pid, exit_code=death.exit_code, out_of_memory=out_of_memory is True, stderr=death.wrote
    )


def no_worker(error: BaseException) -> BaseException:
    """Return the error of a call for which no worker could be started, and for which there is none to wait for."""
    reason: BaseException | None = error
    while reason is not None and not isinstance(reason, OSError):
        reason = reason.__context__  # loky's own cleaning up may have failed for the same reason
    if isinstance(reason, FileNotFoundError) and not _has_directory():
        return _told(error, reason, _NO_DIRECTORY)
    if reason is None or reason.errno not in _LIMITS:
        return error
    limit, what = _LIMITS[reason.errno]
    has, _ = resource.getrlimit(limit)
    return _told(error, reason, f"loky can't start a worker. The limit is {has} {what}; raise it, or have fewer.")


def _told(cause: BaseException, reason: OSError, text: str) -> OSError:
    told = OSError(reason.errno, f"{os.strerror(reason.errno or 0)}: {text}")
    told.__cause__ = cause
    return told


def _has_directory() -> bool:
    try:
        Path.cwd()
    except FileNotFoundError:
        return False
    return True


def killed(call: Call) -> WorkerDied:
    """Return the error of a call that was ended on purpose, together with all others."""
    return WorkerDied(f"{call.describe()} was ended by kill_workers(), with all that it had started.")
