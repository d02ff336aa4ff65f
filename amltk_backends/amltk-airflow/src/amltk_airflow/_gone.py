"""Asks Airflow about a call for which it has no active run, and which has no outcome."""

from __future__ import annotations

import logging
import time
from typing import Any, NamedTuple

from amltk_airflow._api import Api
from amltk_airflow._call import Call
from amltk_airflow._lease import Lease
from amltk_airflow._store import Store

_log = logging.getLogger("amltk_airflow")

# A run has ended, and its outcome is not in the store: file systems of networks show files late.
_SUCCEEDED_PATIENCE = 60.0
_FAILED_PATIENCE = 1.0
# So often Airflow is asked to run a call.
_MOST_ATTEMPTS = 3


class Gone(NamedTuple):
    """What Airflow says of a call that will have no outcome.

    Attributes:
        state: Of its run; None if there is none.
        task: Of its run.
        log: The end of the task's log.
        before_it_began: Whether Airflow failed the task before the call began. Otherwise somebody did not want the
            run, or the worker did not want the call.
    """

    state: str | None
    task: dict[str, Any]
    log: str
    before_it_began: bool


def ask_about(api: Api, call: Call) -> Gone | None:
    """Return what Airflow says of a call; None if its outcome may still come."""
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
    """Have another attempt of a call whose task failed before that had begun, and can't any more; return if so.

    So it is with tasks that start while the server is away: Airflow fails them.
    """
    if call.attempt == _MOST_ATTEMPTS:
        return False
    before = call.id
    lease.stop(before)
    store.remove(f"{before}.call")
    if f"{before}.begun" in store.names():
        return True  # after all; the next look will find it, and what came of it
    _log.info("Airflow has failed the run %s before its call had begun; there is another one", call.run_id)
    call.try_again()
    return True
