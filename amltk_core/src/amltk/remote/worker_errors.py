"""The errors of calls whose worker ended, and of broken executors.

`amltk.remote.worker_exit` finds out how a worker ended. These functions write the message.
"""

from __future__ import annotations

import textwrap
from concurrent.futures import BrokenExecutor
from dataclasses import dataclass
from typing import Protocol

from amltk.exceptions import BatchSystemError, WorkerDied, text_of
from amltk.remote.worker_exit import describe_exit

OTHERS_GO_ON = "All other calls go on."
RUN_AGAIN = "The task plugin Retry of amltk-retry runs such a call again."


class DescribedCall(Protocol):
    """A call that is described to the user: a `RemoteCall`, for one."""

    def describe(self) -> str:
        """Return the call as text: `The call evaluate(3)`."""


@dataclass(frozen=True)
class WorkerExit:
    """How a worker process ended, as far as known.

    Attributes:
        pid: Its process id; None if unknown.
        exit_code: Negative for a signal; None if unknown.
        out_of_memory: Whether memory ran out; None if unknown.
        stderr_tail: The end of its output to stderr.
        detail: More facts, as sentences: a batch system's reason, for example.
    """

    pid: int | None = None
    exit_code: int | None = None
    out_of_memory: bool | None = None
    stderr_tail: str = ""
    detail: str = ""


def worker_died(
    call: DescribedCall, worker: str, ended: WorkerExit, *, how: str = "", others: str = OTHERS_GO_ON
) -> WorkerDied:
    """Return the error of a call whose worker ended before the call.

    Args:
        call: The call.
        worker: The worker, as text: `process 17 on node3`; empty if unknown.
        ended: How the worker ended.
        how: The same as the end of a sentence, if `describe_exit` does not know it.
        others: A sentence on the outcome of other calls.
    """
    how = how or describe_exit(ended.exit_code, ended.out_of_memory)
    message = f"{call.describe()} ended with its worker{worker and f', {worker}'}, which {how}. {others} {RUN_AGAIN}"
    if ended.detail:
        message += f" {ended.detail}"
    if ended.stderr_tail:
        message += f"\nThe last that this process wrote to stderr:\n{textwrap.indent(ended.stderr_tail, '    ')}"
    return WorkerDied(
        message,
        pid=ended.pid,
        exit_code=ended.exit_code,
        out_of_memory=ended.out_of_memory is True,
        stderr=ended.stderr_tail,
    )


def call_killed(call: DescribedCall) -> WorkerDied:
    """Return the error of a call that `kill_workers()` ended."""
    return WorkerDied(f"{call.describe()} was ended by kill_workers(), with every process that it had started.")


def executor_broken(
    cause: BaseException, kind: type[BrokenExecutor] = BrokenExecutor, text: str = "No call can run any more: "
) -> BaseException:
    """Return the error of a call in a broken executor; a new one for each call, as each gets its own traceback.

    Args:
        cause: Why the executor is broken. A `BatchSystemError` is returned as a copy.
        kind: The class of any other error.
        text: The beginning of its message, which ends with the type and the text of the cause.
    """
    if isinstance(cause, BatchSystemError):
        return BatchSystemError(str(cause), command=cause.command, output=cause.output)
    error = kind(f"{text}{type(cause).__name__}: {text_of(cause)}")
    error.__cause__ = cause
    return error
