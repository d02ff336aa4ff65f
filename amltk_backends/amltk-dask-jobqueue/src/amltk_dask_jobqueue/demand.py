"""Computes how many jobs are wanted."""

from __future__ import annotations

import time
from collections.abc import Callable

IDLE_SECONDS = 5.0
"""Seconds with less work than workers before a job is given back: a new one would have to queue again."""


class Demand:
    """The number of wanted jobs: constant, or as many as there is work for."""

    def __init__(self, n_jobs: int, work: Callable[[], int] | None) -> None:
        """Start without work.

        Args:
            n_jobs: The number of jobs; with `work`, the maximum.
            work: Returns how many jobs there is work for; None for always `n_jobs`.
        """
        self._n_jobs = n_jobs
        self._work = work
        self._idle_since: float | None = None

    def jobs(self, there: int) -> int:
        """Return how many jobs are wanted; `there` is the current number."""
        if self._work is None:
            return self._n_jobs
        need = min(self._n_jobs, self._work())
        if need >= there:
            self._idle_since = None
            return need
        self._idle_since = self._idle_since or time.monotonic()
        return need if time.monotonic() - self._idle_since > IDLE_SECONDS else there
