"""How many jobs are wanted."""

from __future__ import annotations

import time
from collections.abc import Callable

IDLE_SECONDS = 5.0
"""How long there has to be less work than workers before a job is given back: a new one has to queue again."""


class Demand:
    """How many jobs are wanted: always the same number, or as many as there is work for."""

    def __init__(self, n_jobs: int, work: Callable[[], int] | None) -> None:
        """Begin without work.

        Args:
            n_jobs: How many jobs there are, or may be.
            work: Says how many jobs there is work for; None if there are always `n_jobs`.
        """
        self._n_jobs = n_jobs
        self._work = work
        self._idle_since: float | None = None

    def jobs(self, there: int) -> int:
        """Return how many jobs are wanted, when so many are there."""
        if self._work is None:
            return self._n_jobs
        need = min(self._n_jobs, self._work())
        if need >= there:
            self._idle_since = None
            return need
        self._idle_since = self._idle_since or time.monotonic()
        return need if time.monotonic() - self._idle_since > IDLE_SECONDS else there
