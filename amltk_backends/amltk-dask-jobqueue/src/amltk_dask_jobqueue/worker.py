"""Ends a job whose main process is gone. Each process that starts workers loads this module.

Without it, a job of a killed main process would continue to the end of its call, because the worker waits for that. For
the same reason, a job that the batch system asks to end would end half a minute later, by SIGKILL.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

import dask
import psutil
from dask.utils import parse_timedelta
from distributed.comm import connect

from amltk_dask.tls_errors import isolate_tls_errors

_watching: set[asyncio.Task[None]] = set()
_scratch: list[str] = []


def dask_setup(server: Any) -> None:
    """Watch over the job. dask calls this in each process that loads this module.

    Args:
        server: dask's nanny, or a worker without one.
    """
    isolate_tls_errors()
    if getattr(server, "nanny", None):
        return  # the nanny watches
    _scratch.append(server.local_directory)
    if (own := Path(os.environ.get("DASK_TEMPORARY_DIRECTORY", ""))).name.startswith("amltk-"):  # see the job's script
        _scratch.append(str(own))
    for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, _asked_to_end)
    task = asyncio.get_running_loop().create_task(_watch(server))
    _watching.add(task)


async def _watch(server: Any) -> None:
    """Hold a connection to the scheduler, which breaks when the main process ends, for whatever reason."""
    try:
        # Less than dask's own limit, after which it logs a long traceback.
        limit = 0.75 * parse_timedelta(dask.config.get("distributed.comm.timeouts.connect"))
        security = server.security.get_connection_args("worker")
        comm = await connect(server.scheduler.address, timeout=limit, **security)
        await comm.read()  # the scheduler sends nothing
    except OSError:
        address, host = server.scheduler.address, socket.gethostname()
        _end(f"the main process is gone, or can't be reached at {address} from {host}")


def _asked_to_end(number: int, _frame: FrameType | None) -> None:
    ran = time.time() - psutil.Process().create_time()
    _end(f"the batch system sent {signal.Signals(number).name} after {ran:.0f} s")  # this may be the walltime


def _end(why: str) -> NoReturn:
    """End the job and all processes that its calls have started."""
    os.write(2, f"amltk: this job ends because {why}.\n".encode())
    for process in _descendants():
        process.kill()
    for folder in _scratch:
        shutil.rmtree(folder, ignore_errors=True)
    sys.stderr.flush()
    os._exit(1)


def _descendants() -> Iterator[psutil.Process]:
    """Yield all descendants of this process, including those that start in the meantime."""
    seen: set[psutil.Process] = set()
    while new := set(psutil.Process().children(recursive=True)) - seen:
        seen |= new
        yield from (process for process in new if process.is_running())
