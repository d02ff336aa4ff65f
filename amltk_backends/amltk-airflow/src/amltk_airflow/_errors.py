"""What is said of calls that did not come back."""

from __future__ import annotations

import textwrap
from concurrent.futures import BrokenExecutor
from typing import Any

from amltk.exceptions import BackendError, BatchSystemError, WorkerDied, WorkerLost, text_of
from amltk.remote.worker_exit import describe_exit
from amltk_airflow._call import Call
from amltk_airflow._messages import Outcome

_OTHERS = "All other calls go on."
_AGAIN = "The task plugin Retry of amltk-retry runs such a call again."


def broken(cause: BaseException) -> BaseException:
    """Return the error of each call that a broken executor has or is given; one for each, for tracebacks grow on it."""
    if isinstance(cause, BatchSystemError):
        return BatchSystemError(str(cause), command=cause.command, output=cause.output)
    error = BrokenExecutor(f"No call can run any more: {type(cause).__name__}: {text_of(cause)}")
    error.__cause__ = cause
    return error


def died(call: Call, outcome: Outcome) -> WorkerDied:
    """Return the error of a call whose process died; that of the task has seen how."""
    message = (
        f"{call.describe()} ended with its worker, {outcome}, which "
        f"{describe_exit(outcome.exit_code, outcome.out_of_memory)}. {_OTHERS} {_AGAIN}"
    )
    if outcome.stderr:
        message += f"\nThe last that this process wrote to stderr:\n{textwrap.indent(outcome.stderr, '    ')}"
    return WorkerDied(
        message,
        pid=outcome.pid,
        exit_code=outcome.exit_code,
        out_of_memory=outcome.out_of_memory is True,
        stderr=outcome.stderr,
    )


def ended(call: Call, outcome: Outcome) -> WorkerLost | WorkerDied:
    """Return the error of a call that its task has ended, though nobody here wanted that."""
    message = f"{call.describe()} was ended with its worker, {outcome}: {outcome.text}. {_OTHERS} {_AGAIN}"
    return WorkerDied(message, pid=outcome.pid, exit_code=outcome.exit_code, stderr=outcome.stderr)


def refused(call: Call, outcome: Outcome) -> BackendError:
    """Return the error of a call that a worker would not begin."""
    return BackendError(f"{call.describe()} was refused: {outcome.text}")


def forged(call: Call, what: str, cause: Exception) -> BackendError:
    """Return the error of a call for which somebody has written something into the store who has not the key."""
    error = BackendError(
        f"{what} of {call.describe()} (Airflow's run {call.run_id}) was not unpickled: {cause}. Whether the call ran "
        "is not known. Who may write to the store?"
    )
    error.__cause__ = cause
    return error


def gone(call: Call, state: str | None, task: dict[str, Any], log: str) -> WorkerDied:
    """Return the error of a call whose task ended, as Airflow says, without a word to us."""
    times = f", {call.attempt} times" if call.attempt > 1 else ""
    where = f"its worker, {call.begun}" if call.begun else f"its task, before that had begun it{times}"
    run = f"the run {call.run_id} is {state}" if state else f"there is no run {call.run_id} any more"
    said = ", ".join(
        f"{word} {value}"
        for word, value in (
            ("state", task.get("state")),
            ("try", task.get("try_number")),
            ("host", task.get("hostname")),
            ("process", task.get("pid")),
        )
        if value not in {None, ""}
    )
    message = (
        f"{call.describe()} ended with {where}. Airflow says: {run}; task: {said or 'unknown'}. {_OTHERS} {_AGAIN}"
    )
    if log:
        message += f"\nThe end of its task's log:\n{textwrap.indent(log, '    ')}"
    return WorkerDied(message, pid=call.begun.pid if call.begun else task.get("pid"))


def killed(call: Call) -> WorkerDied:
    """Return the error of a call that was ended on purpose, together with all others."""
    return WorkerDied(f"{call.describe()} was ended by kill_workers(), with all that it had started.")
