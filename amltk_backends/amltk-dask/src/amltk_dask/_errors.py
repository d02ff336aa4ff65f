"""Errors that only dask has."""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

from amltk.exceptions import WorkerDied, WorkerLost
from amltk.remote.worker_errors import OTHERS_GO_ON, RUN_AGAIN, WorkerExit, worker_died
from amltk_dask._call import Call


class Worker(NamedTuple):
    """A worker that has come.

    Attributes:
        address: As dask has it.
        pid: Its process.
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
    """Return the error of a call whose worker is gone."""
    times = f" (for the {call.deaths}. time)" if call.deaths > 1 else ""
    return worker_died(call, f"{worker}{times}", dataclasses.replace(ended, pid=worker.pid))


def lost(call: Call, worker: Worker, seconds: float) -> WorkerLost:
    """Return the error of a call whose worker gives no sign of life."""
    message = (
        f"{call.describe()} was given up with its worker, {worker}, which gave no sign of life for {seconds:g} s "
        f"(heartbeat_timeout) and is ended. {OTHERS_GO_ON} {RUN_AGAIN}"
    )
    return WorkerLost(message, pid=worker.pid)


def no_answer(scheduler: str, seconds: float) -> OSError:
    """Return the error of a scheduler that hangs, or that can't be reached any more."""
    return OSError(f"dask's scheduler, {scheduler}, has not answered for {seconds:g} s: it hangs, or the network does.")


def lost_with_scheduler(call: Call, worker: Worker, scheduler: str, seconds: float) -> WorkerLost:
    """Return the error of a call that is out of reach: whether its worker is there, nobody can say."""
    message = (
        f"{call.describe()} was given up: dask's scheduler, {scheduler}, gave no sign of life for {seconds:g} s "
        f"(heartbeat_timeout), so {worker} can't be asked for its result. {RUN_AGAIN}"
    )
    return WorkerLost(message, pid=worker.pid)


def given_up(call: Call, worker: Worker, why: object) -> WorkerDied:
    """Return the error of a call that dask itself has given up, or forgotten."""
    message = (
        f"dask gave up {call.describe()}, which was given to {worker}: {why}. Whether it ran is not known. "
        f"{OTHERS_GO_ON} {RUN_AGAIN}"
    )
    return WorkerDied(message, pid=worker.pid)
