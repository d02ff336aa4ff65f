"""Watches whether Airflow and the store answer, and whether Airflow's scheduler starts queued runs."""

from __future__ import annotations

import logging
import time
from collections.abc import Collection

from amltk.exceptions import BatchSystemError
from amltk_airflow import _messages
from amltk_airflow._api import Api, UnreachableError
from amltk_airflow._call import Call

_log = logging.getLogger("amltk_airflow")

PATIENCE_SECONDS = 120.0
"""Seconds that the server or the store may be away before all calls fail."""

_LONGEST_PAUSE = 5.0
# Seconds that a call waits before the health of Airflow's scheduler is checked.
_HEALTH_SECONDS = 15.0


class Outage:
    """A time in which the server or the store does not answer.

    Attributes:
        pause: Seconds until the next try; 0 if both answer.
    """

    def __init__(self, server: str, store: str, interval: float) -> None:
        """Start with a server and a store that answer; `interval` is the shortest time between tries, in seconds."""
        self.pause = 0.0
        self._server = server
        self._store = store
        self._interval = interval
        self._since: float | None = None

    def note(self, error: Exception) -> BatchSystemError | None:
        """Record an error; return the error of all calls once the outage has lasted too long."""
        now = time.monotonic()
        self._since = self._since or now
        self.pause = min(max(self._interval, 2 * self.pause), _LONGEST_PAUSE)
        if now - self._since <= PATIENCE_SECONDS:
            return None
        what = f"Airflow at {self._server}" if isinstance(error, UnreachableError) else f"The store {self._store}"
        return BatchSystemError(
            f"{what} has not answered for {PATIENCE_SECONDS:g} s, so its calls are given up. Last: {error}",
            output=str(error),
        )

    def end(self) -> None:
        """Record that both answer."""
        self._since, self.pause = None, 0.0


class Health:
    """Warns if calls wait because Airflow's scheduler does not run, or the DAG is paused."""

    def __init__(self, api: Api) -> None:
        """Start without a problem."""
        self._api = api
        self._asked = 0.0
        self._problem = ""

    def look(self, calls: Collection[Call]) -> None:
        """Ask Airflow, if calls have waited for long."""
        now = time.monotonic()
        waits = any(
            call.accepted is not None and call.begun is None and now - call.accepted > _HEALTH_SECONDS for call in calls
        )
        if not waits or now - self._asked < _HEALTH_SECONDS:
            return
        self._asked = now
        healthy, report = self._api.scheduler_health()
        problem = "" if healthy else f"{report}. Start it: airflow scheduler"
        if not problem and (self._api.dag() or {}).get("is_paused"):
            problem = f"the DAG is paused. Resume it: airflow dags unpause {_messages.DAG_ID}"
        if problem and problem.partition(",")[0] != self._problem.partition(",")[0]:
            _log.warning("Calls wait, and Airflow at %s reports: %s. They go on waiting.", self._api.url, problem)
        self._problem = problem
