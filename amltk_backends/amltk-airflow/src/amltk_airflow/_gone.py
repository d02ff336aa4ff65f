"""Asks Airflow about a call without an active run and without an outcome."""

from __future__ import annotations

import logging
import time
from typing import Any, NamedTuple

from amltk_airflow._api import Api
from amltk_airflow._call import Call
from amltk_airflow._lease import Lease
from amltk_airflow._store import Store

_log = logging.getLogger("amltk_airflow")

# Seconds to wait for an outcome after its run has ended: network file systems show files late.
_SUCCEEDED_PATIENCE = 60.0
_FAILED_PATIENCE = 1.0
# The number of runs to request for a call.
_MOST_ATTEMPTS = 3


class Gone(NamedTuple):
    """Airflow's report on a call that will have no outcome.

    Attributes:
        state: The state of its run; None if there is none.
        task: The task of its run.
        log: The end of the task's log.
        before_it_began: Whether Airflow failed the task before the call began. Otherwise somebody stopped the run, or
            the worker refused the call.
    """

    state: str | None
    task: dict[str, Any]
    log: str
    before_it_began: bool


def ask_about(api: Api, call: Call) -> Gone | None:
    """Return Airflow's report on a call; None if its outcome may still come."""
    state = api.run_state(call.run_id)
    if state in {"queued", "running"}:
        call.gone = None
        return None
    now = time.monotonic()
    call.gone = call.gone or now
    if now - call.gone < (_SUCCEEDED_PATIENCE if state == "success" else _FAILED_PATIENCE):
        return None
    task = api.task(call.run_id)
    log = api.log_tail(call.run_id, task.get("try_number") or 1)
    before_it_began = call.begun is None and task.get("state") == "failed" and "CallFailedError" not in log
    return Gone(state, task, log, before_it_began)


def try_again(call: Call, lease: Lease, store: Store) -> bool:
    """Start another attempt of a call whose task failed before the call began, if one is left; return whether it did.

    Airflow fails tasks that start while the server is away.
    """
    if call.attempt == _MOST_ATTEMPTS:
        return False
    before = call.id
    lease.stop(before)
    store.remove(f"{before}.call")
    if f"{before}.begun" in store.names():
        return True  # it has begun after all; the next look finds its outcome
    _log.info("Airflow has failed the run %s before its call had begun; amltk requests another run", call.run_id)
    call.try_again()
    return True
