"""Errors that only dask has."""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

from amltk.exceptions import WorkerDied, WorkerLost
from amltk.remote.worker_errors import OTHERS_GO_ON, RUN_AGAIN, WorkerExit, worker_died
from amltk_dask._call import Call


class Worker(NamedTuple):
    """A worker that has connected.

    Attributes:
        address: Its address in dask.
        pid: Its process id.
        host: Its machine.
        nthreads: How many calls it runs at the same time.
        nanny: The address of its nanny; empty without one.
    """

    address: str
    pid: int
    host: str
    nthreads: int
    nanny: str = ""

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}"


def died(call: Call, worker: Worker, ended: WorkerExit) -> WorkerDied:
    """Return the error of a call whose worker died."""
    times = f" (for the {call.deaths}. time)" if call.deaths > 1 else ""
    return worker_died(call, f"{worker}{times}", dataclasses.replace(ended, pid=worker.pid))


def lost(call: Call, worker: Worker, seconds: float) -> WorkerLost:
    """Return the error of a call whose worker shows no sign of life."""
    message = (
        f"{call.describe()} was given up with its worker, {worker}, which gave no sign of life for {seconds:g} s "
        f"(heartbeat_timeout) and is ended. {OTHERS_GO_ON} {RUN_AGAIN}"
    )
    return WorkerLost(message, pid=worker.pid)


def no_answer(scheduler: str, seconds: float) -> OSError:
    """Return the error for a scheduler that hangs or can't be reached."""
    return OSError(f"dask's scheduler, {scheduler}, has not answered for {seconds:g} s: it hangs, or the network does.")


def lost_with_scheduler(call: Call, worker: Worker, scheduler: str, seconds: float) -> WorkerLost:
    """Return the error of a call whose scheduler is lost: its worker may still be there."""
    message = (
        f"{call.describe()} was given up: dask's scheduler, {scheduler}, gave no sign of life for {seconds:g} s "
        f"(heartbeat_timeout), so {worker} can't be asked for its result. {RUN_AGAIN}"
    )
    return WorkerLost(message, pid=worker.pid)


def given_up(call: Call, worker: Worker, why: object) -> WorkerDied:
    """Return the error of a call that dask itself gave up or forgot."""
    message = (
        f"dask gave up {call.describe()}, which was given to {worker}: {why}. Whether it ran is not known. "
        f"{OTHERS_GO_ON} {RUN_AGAIN}"
    )
    return WorkerDied(message, pid=worker.pid)
