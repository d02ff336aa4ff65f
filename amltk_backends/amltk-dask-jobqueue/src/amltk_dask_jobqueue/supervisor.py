"""Keeps the wanted number of jobs alive, and finds out how each one ended.

    submit ──> waiting ──> running ──> its workers connect ──> they leave: is the job alive?
                  │           │                                    yes: its nanny starts a worker
                  └───────────┴── it is gone ──> how did it end?   no ──┘
                                                 replaced, as often as is sensible

dask-jobqueue counts a job as a worker from its submission until it is cancelled, even if it has ended. The supervisor
asks the batch system instead, while a job has no connected worker.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Collection, Coroutine, Iterable
from pathlib import Path
from typing import Any

from distributed import SchedulerPlugin

from amltk.exceptions import BatchSystemError
from amltk.remote.worker_errors import WorkerExit
from amltk_dask.executor import Worker
from amltk_dask_jobqueue.addresses import doubt, hint
from amltk_dask_jobqueue.attempts import Attempts
from amltk_dask_jobqueue.background import in_thread
from amltk_dask_jobqueue.cancelled import CancelledJobs
from amltk_dask_jobqueue.demand import Demand
from amltk_dask_jobqueue.exits import exit_info, log_of, without_a_worker
from amltk_dask_jobqueue.job import Ending, Job
from amltk_dask_jobqueue.job_reaper import JobReaper
from amltk_dask_jobqueue.logs import without_chatter
from amltk_dask_jobqueue.system import Commands
from amltk_dask_jobqueue.waiting import WaitingWarnings

_log = logging.getLogger("amltk_dask_jobqueue")

TICK_SECONDS = 0.5
"""Seconds between checks of the number of jobs."""
LOOK_SECONDS = (1.0, 30.0)
"""Seconds between questions to the batch system about jobs without a worker: at first, and after a long wait."""
LOST_SECONDS = 60.0
"""Seconds that a running job may be without the worker that it had."""
GONE_SECONDS = 20.0
"""Seconds that the end of a run waits for running commands, and for cancelled jobs to leave the queue."""


class Supervisor(SchedulerPlugin):  # type: ignore[misc] # it has no types
    """Submits, watches and cancels jobs; all methods run on the loop of dask's scheduler."""

    name = "amltk-dask-jobqueue"
    failure: BatchSystemError | None = None
    """Why no more jobs are submitted; None while they are."""

    def __init__(
        self,
        cluster: Any,
        commands: Commands,
        reaper: JobReaper,
        *,
        demand: Demand,
        release: Callable[[str], bool],
        give_up: Callable[[BatchSystemError], None],
    ) -> None:
        """Register with dask's scheduler; no job is submitted yet.

        Args:
            cluster: dask-jobqueue's cluster, without jobs of its own.
            commands: The commands of the batch system.
            reaper: Cancels the jobs if this process is killed.
            demand: How many jobs are wanted.
            release: Takes a worker's address; returns whether it has no call and gets no more.
            give_up: Called once, with the reason, when no worker can connect any more.
        """
        self._cluster = cluster
        self._commands = commands
        self._reaper = reaper
        self._demand = demand
        self._release = release
        self._give_up = give_up
        self._jobs: list[Job] = []
        self._cancelled = CancelledJobs(commands, self._forget)
        self._by_name: dict[str, Job] = {}
        self._by_address: dict[str, Job] = {}
        self._here = Path.cwd()
        self._submitted = 0
        self._target = 0
        self._lost = 0
        self._attempts = Attempts()
        self._look_at = 0.0
        self._waiting = WaitingWarnings(self.title, reaper.folder)
        self._over = False
        self._ended: asyncio.Task[None] | None = None
        self._watching: asyncio.Task[None] | None = None
        self._changed = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        cluster.scheduler.add_plugin(self)

    @property
    def title(self) -> str:
        """The name of the batch system to show to people."""
        return self._commands.system.title

    @property
    def address(self) -> str:
        """The address to which workers connect."""
        scheduler = self._cluster.scheduler
        return str(scheduler.contact_address or scheduler.address)

    def counts(self) -> dict[str, int]:
        """Return how many jobs are wanted, queued and connected, and how many were lost so far."""
        connected = sum(bool(job.workers) for job in list(self._jobs))
        jobs = len(self._jobs)
        return {
            "wanted": max(self._target, jobs),
            "queued": jobs - connected,
            "connected": connected,
            "lost": self._lost,
        }

    def describe(self) -> str:
        """Return each job's id, with the batch system's description of its state."""
        return "; ".join(f"{job.id}{f' ({job.words})' if job.words else ''}" for job in self._jobs)

    # Events of dask's scheduler.

    def add_worker(self, scheduler: Any, worker: str) -> None:
        """Record that a worker is connected."""
        state = scheduler.workers[worker]
        job = self._job_of(str(state.name))
        if job is None:
            return
        if job not in self._jobs:  # OAR starts even a job that was cancelled a moment before
            remove = self._cluster.scheduler.remove_worker
            self._spawn(remove(worker, stimulus_id=f"{self.name}: cancelled", close=True))  # its job ends with it
            return
        nanny = state.nanny or ""
        if not job.workers and nanny not in job.nannies:
            job.nannies.clear()
        job.nannies.add(nanny)
        job.workers.add(worker)
        self._by_address[worker] = job
        job.arrived, job.waiting, job.words, job.missing = True, False, "", 0
        self._attempts.worker_came()
        self._waiting.worker_came()
        self._changed.set()

    def remove_worker(self, scheduler: Any, worker: str, **_more: Any) -> None:  # noqa: ARG002 - the names are dask's
        """Record that a worker is gone; its job may have ended."""
        for job in self._jobs:
            if worker in job.workers:
                job.workers.discard(worker)
                job.since, self._look_at = time.monotonic(), 0.0
        self._changed.set()

    def _spawn(self, way: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(way)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(lambda task: task.cancelled() or task.exception())  # the waiting task may have ended
        return task

    def _job_of(self, worker: str) -> Job | None:
        return self._by_name.get(worker) or self._by_name.get(worker.rpartition("-")[0])

    # Submitting and cancelling.

    async def submit(self) -> None:
        """Submit a job.

        Raises:
            BatchSystemError: The batch system refuses the job.
        """
        self._submitted += 1
        name = f"{self._commands.system.name}-{self._submitted}"
        job = Job(name, *await in_thread(self._start, name))
        self._by_name[name] = job
        if self._over:
            self._cancelled.cancel([job])
        else:
            self._jobs.append(job)

    def _start(self, name: str) -> tuple[str, str]:
        spec = self._cluster.new_spec
        job = spec["cls"](self.address, name=name, **spec["options"])
        try:
            asyncio.run(job.start())
        except ValueError as error:  # the command's output has no id
            raise BatchSystemError(str(error), command=self._commands.submit) from error
        if not self._reaper.add(str(job.job_id)) and self._over:  # the command took longer than the end waits
            self._commands.cancel_jobs([str(job.job_id)])
        return str(job.job_id), job.script

    def _cancel(self, jobs: Iterable[Job]) -> None:
        jobs = [job for job in jobs if job in self._jobs]
        self._jobs = [job for job in self._jobs if job not in jobs]
        self._cancelled.cancel(jobs)

    async def watch(self) -> None:
        """Start to watch the jobs, and to submit missing ones."""
        if why := await in_thread(doubt, self.address):
            _log.warning("%s: jobs on other machines cannot reach %s: %s. %s", self.title, self.address, why, hint())
        self._watching = asyncio.create_task(self._watch())

    async def end(self) -> None:
        """Cancel all jobs; return when the batch system has none of them any more, or after a bounded time."""
        if self._ended is None:
            self._ended = asyncio.create_task(self._end())
        await asyncio.shield(self._ended)

    async def _end(self) -> None:
        self._over = True
        self._changed.set()
        self._cancel(self._jobs)
        begun = time.monotonic()
        if self._watching is not None:
            await asyncio.wait({self._watching}, timeout=GONE_SECONDS / 2)  # one of its commands may hang
        await self._cancelled.wait_until_gone(begun + GONE_SECONDS - time.monotonic())
        if self._watching is not None:  # the reaper cancels jobs that it submits in the meantime
            self._watching.cancel()

    # Watching.

    async def _watch(self) -> None:
        """Repeat the tasks of the supervisor until the run ends."""
        while not self._over:
            try:
                self._cancel([job for job in self._jobs if job.silent])
                await self._look()
                await self._waiting.look(self._jobs, self.address)
                await self._adjust()
            except Exception:
                _log.exception("%s: jobs could not be checked; retrying.", self.title)
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._changed.wait(), TICK_SECONDS)
            self._changed.clear()

    async def _look(self) -> None:
        """Ask the batch system about jobs without a worker, at growing intervals."""
        now = time.monotonic()
        doubtful = [job for job in self._jobs if not job.workers]
        if not doubtful or now < self._look_at:
            return
        soon, late = LOOK_SECONDS
        self._look_at = now + min(late, max(soon, (now - max(job.since for job in doubtful)) / 4))
        try:
            await self._ask_about(doubtful)
        except BatchSystemError as error:
            self._waiting.say(f"{self.title} does not report the state of jobs: {error}")
        lost = [job for job in self._jobs if job.arrived and not job.waiting and not job.workers]
        for job in [job for job in lost if now - job.since > LOST_SECONDS]:
            _log.warning("%s: job %s has lost its worker and still runs; it is cancelled.", self.title, job.id)
            self._lost += 1
            self._cancel([job])

    async def _ask_about(self, jobs: Collection[Job]) -> None:
        states = await in_thread(self._commands.system.states, self._commands, [job.id for job in jobs])
        for job in jobs:
            state = states.get(job.id)
            if state is not None and not (state.ended and not job.workers):
                job.missing = 0
                if job.waiting and not state.waiting:
                    job.since = time.monotonic()
                job.waiting, job.words, job.stuck = state
            elif not job.workers and job in self._jobs:
                job.missing += 1
                job.words = job.words if state is None else state.words
                # Some systems list a job only a moment after they have accepted it.
                if job.words or job.arrived or job.missing > 1:
                    await self._on_job_exit(job)

    async def _on_job_exit(self, job: Job) -> None:
        self._jobs.remove(job)
        state = ""
        with contextlib.suppress(BatchSystemError):
            state = await in_thread(self._commands.system.ending, self._commands, job.id)
        log = await log_of(job, self._reaper.folder)
        how = f"ended as {state}" if state else "is gone, for an unknown reason"
        self._forget(job)
        job.ending = Ending(f"{self.title}'s job {job.id} {how}.", without_chatter(log))
        self._changed.set()
        if job.arrived:
            self._lost += 1
            _log.info("%s", job.ending.words)
            return
        error, hopeless = without_a_worker(job.ending, log, self.address, self._reaper.folder)
        self._attempts.failed(error, hopeless=hopeless)

    def _forget(self, job: Job) -> None:
        self._reaper.remove(job.id)
        # Some commands name the output after the script, even if the script names it: Slurm's qsub does.
        for path in self._here.glob(f"{job.script}.[oe]{job.id}"):
            path.unlink(missing_ok=True)

    async def _adjust(self) -> None:
        """Submit missing jobs, or give back surplus ones; give up after too many failures."""
        if self._over:
            return
        self._target = self._demand.jobs(len(self._jobs))
        surplus = len(self._jobs) - self._target
        if surplus > 0:
            await self._give_back(surplus)
        while len(self._jobs) < self._demand.jobs(len(self._jobs)) and not self._over:
            if self._attempts.exhausted:
                if not self._jobs and (error := self._attempts.last_error) is not None:
                    self._over, self.failure = True, error
                    self._give_up(error)
                return
            if self._attempts.too_early:
                return
            try:
                await self.submit()
            except BatchSystemError as error:
                self._attempts.failed(error)
                return

    async def _give_back(self, surplus: int) -> None:
        waiting = [job for job in reversed(self._jobs) if job.waiting or not job.arrived][:surplus]
        self._cancel(waiting)
        idle: list[Job] = []
        for job in reversed(self._jobs):
            if len(waiting) + len(idle) < surplus and job.workers and all(map(self._release, job.workers)):
                idle.append(job)
        self._cancel(idle)

    # For the executor.

    def lose(self, worker: Worker) -> None:
        """Have the job of a worker without a sign of life cancelled; return at once."""
        job = self._by_address.get(worker.address)
        if job is None or job not in self._jobs or job.silent:
            return
        job.silent = True
        # For the calls of the job's other workers, which end with it.
        job.ending = Ending(f"{self.title}'s job {job.id} is cancelled: {worker} gave no sign of life.", "")
        self._lost += 1
        _log.info("%s", job.ending.words)
        self._changed.set()

    async def exit_info(self, worker: Worker) -> WorkerExit:
        """Return how a worker died: with its job, or alone, in which case its nanny starts it again."""
        job = self._by_address.get(worker.address)
        return await exit_info(worker, job, self.title, self._reaper.folder, self._ask)

    async def _ask(self, job: Job) -> None:
        if job in self._jobs:
            await asyncio.shield(self._spawn(self._ask_about([job])))
