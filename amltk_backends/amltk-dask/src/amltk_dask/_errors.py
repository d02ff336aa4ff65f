"""What is said of calls that did not come back."""

from __future__ import annotations

import textwrap
from concurrent.futures import BrokenExecutor
from typing import NamedTuple

from amltk.exceptions import BatchSystemError, WorkerDied, WorkerLost, text_of
from amltk.remote.worker_exit import describe_exit
from amltk_dask._call import Call

_OTHERS = "All other calls go on."
_AGAIN = "The task plugin Retry of amltk-retry runs such a call again."


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


class WorkerExit(NamedTuple):
    """What is known of a worker that died.

    Attributes:
        exit_code: Its exit code, negative for a signal; None if it isn't known.
        out_of_memory: Whether memory ran out; None if that isn't known.
        wrote: What it wrote last.
        words: What else is known, as sentences: those of a batch system, say.
    """

    exit_code: int | None = None
    out_of_memory: bool | None = None
    wrote: str = ""
    words: str = ""


def broken(cause: BaseException) -> BaseException:
    """Return the error of a call that a broken executor has or is given; one for each, for tracebacks grow on it."""
    if isinstance(cause, BatchSystemError):
        return BatchSystemError(str(cause), command=cause.command, output=cause.output)
    error = BrokenExecutor(f"No call can run any more: {type(cause).__name__}: {text_of(cause)}")
    error.__cause__ = cause
    return error


def died(call: Call, worker: Worker, death: WorkerExit) -> WorkerDied:
    """Return the error of a call whose worker is gone."""
    times = f" (for the {call.deaths}. time)" if call.deaths > 1 else ""
    message = (
        f"{call.describe()} ended with its worker{times}, {worker}, which "
        f"{describe_exit(death.exit_code, death.out_of_memory)}. {_OTHERS} {_AGAIN}"
    )
    if death.words:
        message += f" {death.words}"
    if death.wrote:
        message += f"\nThe last that this process wrote to stderr:\n{textwrap.indent(death.wrote, '    ')}"
    return WorkerDied(
        message,
        pid=worker.pid,
        exit_code=death.exit_code,
        out_of_memory=death.out_of_memory is True,
        stderr=death.wrote,
    )


def lost(call: Call, worker: Worker, seconds: float) -> WorkerLost:
    """Return the error of a call whose worker gives no sign of life."""
    message = (
        f"{call.describe()} was given up with its worker, {worker}, which gave no sign of life for {seconds:g} s "
        f"(heartbeat_timeout) and is ended. {_OTHERS} {_AGAIN}"
    )
    return WorkerLost(message, pid=worker.pid)


def no_answer(scheduler: str, seconds: float) -> OSError:
    """Return the error of a scheduler that hangs, or that can't be reached any more."""
    return OSError(f"dask's scheduler, {scheduler}, has not answered for {seconds:g} s: it hangs, or the network does.")


def lost_with_scheduler(call: Call, worker: Worker, scheduler: str, seconds: float) -> WorkerLost:
    """Return the error of a call that is out of reach: whether its worker is there, nobody can say."""
    message = (
        f"{call.describe()} was given up: dask's scheduler, {scheduler}, gave no sign of life for {seconds:g} s "
        f"(heartbeat_timeout), so {worker} can't be asked for its result. {_AGAIN}"
    )
    return WorkerLost(message, pid=worker.pid)


def killed(call: Call) -> WorkerDied:
    """Return the error of a call that was ended on purpose, together with all others."""
    return WorkerDied(f"{call.describe()} was ended by kill_workers(), with all that it had started.")


def given_up(call: Call, worker: Worker, why: object) -> WorkerDied:
    """Return the error of a call that dask itself has given up, or forgotten."""
    message = (
        f"dask gave up {call.describe()}, which was given to {worker}: {why}. Whether it ran is not known. "
        f"{_OTHERS} {_AGAIN}"
    )
    return WorkerDied(message, pid=worker.pid)
