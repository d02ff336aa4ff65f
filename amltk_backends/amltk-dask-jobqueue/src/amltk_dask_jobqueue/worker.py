"""What is loaded in each job, by the process that starts its workers: it ends the job when nobody is there to use it.

A job whose main process has been killed would go on to the end of its call, since its worker waits for that. And one
that is asked to end by the batch system would, for the same reason, be killed half a minute later.
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
    """Watch over the job, as dask calls this in each process that it loads this module in.

    Args:
        server: dask's nanny, or a worker that has none.
    """
    isolate_tls_errors()
    if getattr(server, "nanny", None):
        return  # that one watches
    _scratch.append(server.local_directory)
    if (own := Path(os.environ.get("DASK_TEMPORARY_DIRECTORY", ""))).name.startswith("amltk-"):  # see the job's script
        _scratch.append(str(own))
    for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, _asked_to_end)
    task = asyncio.get_running_loop().create_task(_watch(server))
    _watching.add(task)


async def _watch(server: Any) -> None:
    """Hold a connection to the scheduler, which ends when the main process does, however that ends."""
    try:
        # Less than the time after which dask gives up, by a long traceback.
        limit = 0.75 * parse_timedelta(dask.config.get("distributed.comm.timeouts.connect"))
        security = server.security.get_connection_args("worker")
        comm = await connect(server.scheduler.address, timeout=limit, **security)
        await comm.read()  # nothing is ever sent
    except OSError:
        address, host = server.scheduler.address, socket.gethostname()
        _end(f"the main process is gone, or can't be reached any more, at {address} from {host}")


def _asked_to_end(number: int, _frame: FrameType | None) -> None:
    ran = time.time() - psutil.Process().create_time()
    _end(f"the batch system sent {signal.Signals(number).name} after {ran:.0f} s")  # which may be the walltime


def _end(why: str) -> NoReturn:
    """End the job, with all that its calls have started."""
    os.write(2, f"amltk: this job ends, since {why}.\n".encode())
    for process in _descendants():
        process.kill()
    for folder in _scratch:
        shutil.rmtree(folder, ignore_errors=True)
    sys.stderr.flush()
    os._exit(1)


def _descendants() -> Iterator[psutil.Process]:
    """Give all that descend from this process, those that are started meanwhile included."""
    seen: set[psutil.Process] = set()
    while new := set(psutil.Process().children(recursive=True)) - seen:
        seen |= new
        yield from (process for process in new if process.is_running())
