"""The functions that run in workers of dask.

    client                                                   worker

    handshake ──────────── once, when it connects ────────> its process and versions
    run, call as bytes ──── a task, for this worker only ──> outcome, as bytes

dask itself sees only bytes: none of the user's keywords, and nothing that could fail to unpickle.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import functools
import importlib.metadata
import multiprocessing
import os
import platform
import sys
from typing import Any, NamedTuple

from amltk.remote import run_call

REFUSED = b"refused"

LIBRARIES = ("amltk-core", "amltk-dask", "cloudpickle", "dask", "distributed")


class Greeting(NamedTuple):
    """A worker's answer to the handshake.

    Attributes:
        pid: Its process id.
        host: Its machine.
        nthreads: How many calls it can run at the same time.
        nanny: The address of its nanny; empty without one.
        versions: The versions of Python and of the libraries that must match.
    """

    pid: int
    host: str
    nthreads: int
    nanny: str
    versions: dict[str, str]


# The tokens of the calls that this process began most recently.
_begun: collections.deque[str] = collections.deque(maxlen=256)


@functools.cache  # looking them up takes milliseconds, and a cluster may have a thousand workers
def versions() -> dict[str, str]:
    """Return the versions that must match on both sides."""
    found = {"Python": f"{sys.version_info.major}.{sys.version_info.minor}"}
    for name in LIBRARIES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found


def handshake(dask_worker: Any) -> tuple[Any, ...]:
    """Prepare the worker for calls, and describe it.

    Args:
        dask_worker: The worker; dask passes it by this name.
    """
    # dask marks its workers as daemons, which may not have children of their own.
    multiprocessing.current_process()._config.pop("daemon", None)  # type: ignore[attr-defined]
    nanny = dask_worker.nanny or ""
    return tuple(Greeting(os.getpid(), platform.node(), dask_worker.state.nthreads, nanny, versions()))


def run(data: bytes, token: str, pid: int, host: str) -> bytes:
    """Run a call and return its outcome; this never raises.

    Args:
        data: The call, of `dump_call`.
        token: The call's token: no call runs twice.
        pid: The process that the call was given to; another one may have its address by now.
        host: The machine of that process.

    Returns:
        The outcome, of `run_call`; or `REFUSED`.
    """
    if token in _begun or (pid, host) != (os.getpid(), platform.node()):
        return REFUSED
    _begun.append(token)
    return run_call(data)


async def kill(pid: int) -> None:
    """End a worker and its descendants; its nanny runs this."""
    from amltk.remote.process_tree import end_process_trees

    await asyncio.to_thread(end_process_trees, [pid])
