"""Cancels jobs in the background, and waits for a bounded time until they are gone."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence

from amltk.exceptions import BatchSystemError
from amltk_dask_jobqueue.background import in_thread
from amltk_dask_jobqueue.job import Job
from amltk_dask_jobqueue.system import Commands, JobState

_log = logging.getLogger("amltk_dask_jobqueue")

CLEAN_UP_SECONDS = 3.0
"""Seconds to wait for jobs that have ended and are being cleaned up, which may take minutes."""


class CancelledJobs:
    """Cancelled jobs that the batch system may still have.

    Attributes:
        jobs: The jobs; used only on the loop of dask's scheduler.
    """

    def __init__(self, commands: Commands, forget: Callable[[Job], None]) -> None:
        """Start without jobs.

        Args:
            commands: The commands of the batch system.
            forget: Called with each job that is gone.
        """
        self._commands = commands
        self._forget = forget
        self._tasks: set[asyncio.Task[None]] = set()
        self.jobs: list[Job] = []

    def cancel(self, jobs: Sequence[Job]) -> None:
        """Start cancelling jobs, and return at once: a command may take minutes if a node does not answer."""
        if not jobs:
            return
        self.jobs += [job for job in jobs if job not in self.jobs]
        for job in jobs:
            job.cancelled = job.cancelling = True
        task = asyncio.get_running_loop().create_task(self._run_command(jobs))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _run_command(self, jobs: Sequence[Job]) -> None:
        refusal = ""
        try:
            await in_thread(self._commands.cancel_jobs, [job.id for job in jobs])
        except BatchSystemError as error:  # most commands fail if one of the jobs has ended already
            refusal = str(error)
        for job in jobs:
            job.cancelling, job.refusal = False, refusal

    async def wait_until_gone(self, seconds: float) -> None:
        """Wait until all jobs are gone, for at most `seconds`; warn if some are left."""
        begun = time.monotonic()
        self.cancel([job for job in self.jobs if job.refusal and not job.cancelling])
        problem = f"{self._commands.system.title} does not report their state."
        pause = 0.1
        while self.jobs and (left := begun + seconds - time.monotonic()) > 0:
            try:
                asked = in_thread(self._commands.system.states, self._commands, [job.id for job in self.jobs])
                states = await asyncio.wait_for(asked, left)
            except TimeoutError:
                break
            except BatchSystemError as error:
                problem = str(error)
            else:
                problem = ""
                self._note(states, patient=time.monotonic() - begun < CLEAN_UP_SECONDS)
            if self.jobs:
                await asyncio.sleep(min(pause, max(0.0, begun + seconds - time.monotonic())))
                pause = min(2.0, pause * 1.5)
        if self.jobs:
            self._warn(seconds, problem)
        elif self._tasks:  # the commands of jobs that are gone end soon
            left = max(0.0, begun + seconds - time.monotonic())
            await asyncio.wait(self._tasks, timeout=min(CLEAN_UP_SECONDS, left))
        for task in self._tasks:  # its command continues
            task.cancel()

    def _note(self, states: Mapping[str, JobState], *, patient: bool) -> None:
        for job in list(self.jobs):
            state = states.get(job.id)
            if state is None or (state.ended and not patient):
                self.jobs.remove(job)
                self._forget(job)
            else:
                job.words = state.words

    def _warn(self, seconds: float, problem: str) -> None:
        system = self._commands.system
        states = "; ".join(f"job {job.id}{f' is {job.words}' if job.words else ''}" for job in self.jobs)
        ids = " ".join(job.id for job in self.jobs if job.cancelling)
        reasons = [
            problem,
            *([f"The command '{self._commands.cancel} {ids}' has not answered yet."] if ids else []),
            *dict.fromkeys(job.refusal for job in self.jobs if job.refusal and not job.cancelling),
        ]
        _log.warning(
            "%s: cancelled jobs are still there after %.0f s: %s. %s "
            "A background process cancels them again.",
            system.title, seconds, states, " ".join(filter(None, reasons)),
        )  # fmt: skip
