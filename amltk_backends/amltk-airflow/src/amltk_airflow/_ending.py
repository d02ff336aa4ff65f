"""Ends all requested calls, and waits until they have ended."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence

from amltk_airflow._api import Api
from amltk_airflow._call import Call
from amltk_airflow._lease import Lease
from amltk_airflow._store import Store

_log = logging.getLogger("amltk_airflow")

KILL_PATIENCE = 15.0
"""Seconds to wait for workers that should end their calls."""


def end_calls(calls: Sequence[Call], lease: Lease | None, store: Store, api: Api, interval: float) -> None:
    """Tell workers and Airflow to end calls; return when they have ended, or after `KILL_PATIENCE`.

    Args:
        calls: The calls for which a run was requested.
        lease: The session's lease, if there is one yet.
        store: The session's folder.
        api: The server.
        interval: Seconds between looks at the store.
    """
    steps: tuple[Callable[[], None], ...] = (
        lambda: _tell_workers(calls, lease, store),
        lambda: _tell_airflow(calls, api),
        lambda: _wait_for_end(calls, store, interval),
    )
    for step in steps:
        try:
            step()
        except Exception as error:  # the other steps are needed all the more
            _log.warning("Some calls may not have ended: %s: %s", type(error).__name__, error)


def _tell_workers(calls: Sequence[Call], lease: Lease | None, store: Store) -> None:
    if lease is not None:
        lease.end()
    store.remove(*(f"{call.id}.call" for call in calls))


def _tell_airflow(calls: Sequence[Call], api: Api) -> None:
    for call in calls:
        api.fail_run(call.run_id)


def _wait_for_end(calls: Sequence[Call], store: Store, interval: float) -> None:
    deadline = time.monotonic() + KILL_PATIENCE
    while True:
        names = store.names()
        left = [call for call in calls if f"{call.id}.begun" in names and f"{call.id}.outcome" not in names]
        if not left:
            return
        if time.monotonic() > deadline:
            names_left = ", ".join(f"{call.describe()} in {call.begun}" for call in left)
            _log.warning("These calls have not ended yet; they end when their lease expires: %s", names_left)
            return
        time.sleep(min(interval, 0.1))
