"""Errors that only Airflow has."""

from __future__ import annotations

import textwrap
from typing import Any

from amltk.exceptions import BackendError, WorkerDied, WorkerLost
from amltk.remote.worker_errors import OTHERS_GO_ON, RUN_AGAIN, WorkerExit, worker_died
from amltk_airflow._call import Call
from amltk_airflow._messages import Outcome


def died(call: Call, outcome: Outcome) -> WorkerDied:
    """Return the error of a call whose process died; its task has observed how."""
    ended = WorkerExit(outcome.pid, outcome.exit_code, outcome.out_of_memory, outcome.stderr)
    return worker_died(call, str(outcome), ended)


def ended(call: Call, outcome: Outcome) -> WorkerLost | WorkerDied:
    """Return the error of a call that its task ended, without a request from this program."""
    message = f"{call.describe()} was ended with its worker, {outcome}: {outcome.text}. {OTHERS_GO_ON} {RUN_AGAIN}"
    return WorkerDied(message, pid=outcome.pid, exit_code=outcome.exit_code, stderr=outcome.stderr)


def refused(call: Call, outcome: Outcome) -> BackendError:
    """Return the error of a call that a worker refused to begin."""
    return BackendError(f"{call.describe()} was refused: {outcome.text}")


def forged(call: Call, what: str, cause: Exception) -> BackendError:
    """Return the error of a call whose object in the store was written without the key."""
    error = BackendError(
        f"{what} of {call.describe()} (Airflow's run {call.run_id}) was not unpickled: {cause}. Whether the call ran "
        "is not known. Who may write to the store?"
    )
    error.__cause__ = cause
    return error


def gone(call: Call, state: str | None, task: dict[str, Any], log: str) -> WorkerDied:
    """Return the error of a call whose task ended, by Airflow's account, without an outcome."""
    times = f", {call.attempt} times" if call.attempt > 1 else ""
    where = f"its worker, {call.begun}" if call.begun else f"its task, before it had begun{times}"
    run = f"the run {call.run_id} is {state}" if state else f"there is no run {call.run_id} any more"
    details = ", ".join(
        f"{word} {value}"
        for word, value in (
            ("state", task.get("state")),
            ("try", task.get("try_number")),
            ("host", task.get("hostname")),
            ("process", task.get("pid")),
        )
        if value not in {None, ""}
    )
    what = f"Airflow reports: {run}; task: {details or 'unknown'}"
    message = f"{call.describe()} ended with {where}. {what}. {OTHERS_GO_ON} {RUN_AGAIN}"
    if log:
        message += f"\nThe end of its task's log:\n{textwrap.indent(log, '    ')}"
    return WorkerDied(message, pid=call.begun.pid if call.begun else task.get("pid"))
