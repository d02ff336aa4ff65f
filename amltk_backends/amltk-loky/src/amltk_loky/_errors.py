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


def broken(cause: BaseException) -> BaseException:
    """Return the error of a call that an executor has or is given whose initializer failed."""
    text = "The pool is broken and takes no more calls: its initializer raised "
    return executor_broken(cause, BrokenProcessPool, text)


def died(call: Call, ended: WorkerExit, *, shared: bool) -> WorkerDied:
    """Return the error of a call whose worker is gone."""
    worker = f"process {ended.pid} on {platform.node()}"
    return worker_died(call, worker, ended, others=_SHARED if shared else OTHERS_GO_ON)


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
