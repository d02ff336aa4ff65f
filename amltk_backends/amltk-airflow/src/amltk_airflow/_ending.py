"""Ends all calls that Airflow has been asked to run, and sees to it that they have ended."""

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
"""After so many seconds a worker is not waited for that should end its call."""


def end_calls(calls: Sequence[Call], lease: Lease | None, store: Store, api: Api, interval: float) -> None:
    """Tell workers and Airflow to end calls, and come back when they have ended, or after `KILL_PATIENCE`.

    Args:
        calls: Those that Airflow has been asked to run.
        lease: Of the session, if it has begun.
        store: Of the session.
        api: The server.
        interval: How often the store is looked at, in seconds.
    """
    steps: tuple[Callable[[], None], ...] = (
        lambda: _tell_workers(calls, lease, store),
        lambda: _tell_airflow(calls, api),
        lambda: _see_them_end(calls, store, interval),
    )
    for step in steps:
        try:
            step()
        except Exception as error:  # the others are all the more needed
            _log.warning("It is not sure that all calls have ended: %s: %s", type(error).__name__, error)


def _tell_workers(calls: Sequence[Call], lease: Lease | None, store: Store) -> None:
    if lease is not None:
        lease.end()
    store.remove(*(f"{call.id}.call" for call in calls))


def _tell_airflow(calls: Sequence[Call], api: Api) -> None:
    for call in calls:
        api.fail_run(call.run_id)


def _see_them_end(calls: Sequence[Call], store: Store, interval: float) -> None:
    deadline = time.monotonic() + KILL_PATIENCE
    while True:
        names = store.names()
        left = [call for call in calls if f"{call.id}.begun" in names and f"{call.id}.outcome" not in names]
        if not left:
            return
        if time.monotonic() > deadline:
            who = ", ".join(f"{call.describe()} in {call.begun}" for call in left)
            _log.warning("These were not seen to end; they end when their lease is over: %s", who)
            return
        time.sleep(min(interval, 0.1))
