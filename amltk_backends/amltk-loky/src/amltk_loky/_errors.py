"""Errors that only loky has."""

from __future__ import annotations

import errno
import os
import platform
import resource
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

from amltk.exceptions import WorkerDied
from amltk.remote.worker_errors import OTHERS_GO_ON, WorkerExit, executor_broken, worker_died
from amltk_loky._call import Call

_SHARED = (
    "It was in loky's reusable pool, where one worker that dies ends all running calls, and loky does not report which "
    "call was at fault. Waiting calls go on, each worker in a pool of its own."
)
_LIMITS = {
    errno.EMFILE: (resource.RLIMIT_NOFILE, "open files ('ulimit -n'), of which a worker takes 15"),
    errno.EAGAIN: (resource.RLIMIT_NPROC, "processes and threads of this user ('ulimit -u')"),
}
_NO_DIRECTORY = (
    "loky starts its workers in the program's current directory, which has been deleted. Change to an existing one, "
    "with os.chdir(), before the run."
)


def broken(cause: BaseException) -> BaseException:
    """Return the error of a call in an executor whose initializer failed."""
    text = "The pool is broken and takes no more calls: its initializer raised "
    return executor_broken(cause, BrokenProcessPool, text)


def died(call: Call, ended: WorkerExit, *, shared: bool) -> WorkerDied:
    """Return the error of a call whose worker died."""
    worker = f"process {ended.pid} on {platform.node()}"
    return worker_died(call, worker, ended, others=_SHARED if shared else OTHERS_GO_ON)


def no_worker(error: BaseException) -> BaseException:
    """Return the error of a call for which no worker could be started, and none runs."""
    reason: BaseException | None = error
    while reason is not None and not isinstance(reason, OSError):
        reason = reason.__context__  # loky's own clean-up may have failed for the same reason
    if isinstance(reason, FileNotFoundError) and not _has_directory():
        return _with_hint(error, reason, _NO_DIRECTORY)
    if reason is None or reason.errno not in _LIMITS:
        return error
    limit, what = _LIMITS[reason.errno]
    has, _ = resource.getrlimit(limit)
    return _with_hint(error, reason, f"loky can't start a worker. The limit is {has} {what}; raise it, or have fewer.")


def _with_hint(cause: BaseException, reason: OSError, text: str) -> OSError:
    error = OSError(reason.errno, f"{os.strerror(reason.errno or 0)}: {text}")
    error.__cause__ = cause
    return error


def _has_directory() -> bool:
    try:
        Path.cwd()
    except FileNotFoundError:
        return False
    return True
