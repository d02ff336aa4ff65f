"""Warns while no worker connects."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from pathlib import Path

from amltk_dask_jobqueue.addresses import hint
from amltk_dask_jobqueue.background import in_thread
from amltk_dask_jobqueue.job import Job
from amltk_dask_jobqueue.logs import last_lines, tail_of_log

_log = logging.getLogger("amltk_dask_jobqueue")

NO_WORKER_SECONDS = 60.0
"""Seconds without a worker before the first warning."""


class WaitingWarnings:
    """Warns about jobs without a worker, at doubling intervals, or at once if they will wait forever."""

    def __init__(self, title: str, folder: Path) -> None:
        """Start without warnings.

        Args:
            title: The name of the batch system to show to people.
            folder: The folder for the output of jobs.
        """
        self._title = title
        self._folder = folder
        self._say_at = NO_WORKER_SECONDS
        self._said = ""

    def worker_came(self) -> None:
        """Record that a worker has connected: the next warning comes after the shortest time again."""
        self._say_at = NO_WORKER_SECONDS

    async def look(self, jobs: Sequence[Job], address: str) -> None:
        """Warn if no worker has connected and a warning is due.

        Args:
            jobs: The jobs of the run.
            address: The address to which workers connect.
        """
        if not jobs or any(job.workers for job in jobs):
            return
        now = time.monotonic()
        waited = now - min(job.since for job in jobs)
        stuck = [job for job in jobs if job.stuck]
        if not stuck and waited < self._say_at:
            return
        shown, help_ = (stuck or jobs)[:3], ""
        states = "; ".join(f"job {job.id} is {job.words or 'not known yet'}" for job in shown)
        if stuck:
            what = "no worker can start as things are"
        elif all(job.waiting for job in shown):
            what = f"no worker has connected for {waited:.0f} s"
        else:
            what = f"no worker has connected to {address} for {waited:.0f} s"
            help_ = f" {hint()}"
        self._say_at = max(self._say_at, 2 * waited)
        text = f"{self._title}: {what}: {states}. The calls wait; stop() and Ctrl-C end the run.{help_}"
        for job in [job for job in shown if not job.waiting]:
            log = last_lines(await in_thread(tail_of_log, self._folder, job.id))
            text += f"\nThe end of the output of job {job.id}:\n{log}" if log else f"\nJob {job.id} has no output."
        self.say(text, key=states if stuck else text)

    def say(self, text: str, key: str | None = None) -> None:
        """Warn, unless the last warning was the same."""
        key = text if key is None else key
        if key != self._said:
            self._said = key
            _log.warning("%s", text)
