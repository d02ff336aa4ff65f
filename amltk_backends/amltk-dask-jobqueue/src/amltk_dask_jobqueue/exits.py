"""Reports how jobs and workers ended."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from amltk.exceptions import BatchSystemError
from amltk.remote.worker_errors import WorkerExit
from amltk_dask.executor import Worker, what_to_install
from amltk_dask_jobqueue.addresses import hint, missing_interface
from amltk_dask_jobqueue.background import in_thread
from amltk_dask_jobqueue.job import Ending, Job
from amltk_dask_jobqueue.logs import UNREACHABLE, exit_code_in, missing_module, tail_of_log, without_chatter

EXIT_INFO_SECONDS = 15.0
"""Seconds that a call whose worker died waits for the batch system's report on it."""
LOG_SECONDS = 3.0
"""Seconds to wait for the log of a job that ended: some systems copy it only then."""


async def log_of(job: Job, folder: Path) -> str:
    """Return the end of the output of a job that ended; "" if there is none.

    Args:
        job: The job.
        folder: The folder for the output of jobs.
    """
    deadline = time.monotonic() + LOG_SECONDS
    while not (log := await in_thread(tail_of_log, folder, job.id)):
        if time.monotonic() > deadline:
            break
        await asyncio.sleep(0.3)
    return log


def without_a_worker(ending: Ending, log: str, address: str, folder: Path) -> tuple[BatchSystemError, bool]:
    """Return the error of a job that ended before it had a worker, and whether the next job would fail, too.

    Args:
        ending: How the job ended.
        log: Its log, as far as known.
        address: The address to which its worker should connect.
        folder: The folder for the output of jobs.
    """
    output = f"The end of its output:\n{ending.log}" if ending.log else f"It has written nothing to {folder}."
    why, hopeless = f"Its worker had not connected to {address}.", False
    if module := missing_module(log):
        why = f"Its Python cannot import {module}. {what_to_install()} And amltk-dask-jobqueue with them; "
        why += "python= sets the Python of jobs."
        hopeless = True
    elif problem := missing_interface(log):
        why, output, hopeless = problem, "", True  # the traceback has nothing more
    elif UNREACHABLE in log:
        why = f"{why} {hint()}"
    return BatchSystemError(f"{ending.words} {why} {output}".rstrip(), output=ending.log), hopeless


async def exit_info(
    worker: Worker, job: Job | None, title: str, folder: Path, ask: Callable[[Job], Awaitable[None]]
) -> WorkerExit:
    """Return how a worker died: with its job, or alone, in which case its nanny starts it again.

    Args:
        worker: The worker.
        job: Its job, if known.
        title: The name of the batch system to show to people.
        folder: The folder for the output of jobs.
        ask: Asks the batch system about a job.
    """
    deadline = time.monotonic() + EXIT_INFO_SECONDS
    log = ""
    while job is not None and job.ending is None and not job.cancelled and time.monotonic() < deadline:
        log = await in_thread(tail_of_log, folder, job.id)
        code = exit_code_in(log, worker.pid)
        if code is not None:
            memory = f"pid={worker.pid}) exceeded" in log or None
            return WorkerExit(worker.pid, code, memory, without_chatter(log))
        with contextlib.suppress(BatchSystemError, asyncio.TimeoutError):
            await asyncio.wait_for(ask(job), deadline - time.monotonic())
        if job.waiting or worker.nanny not in job.nannies:
            now = f"it is {job.words}" if job.waiting else "it has been started again"
            detail = f"{title} has put its job {job.id} back into the queue: {now}."
            return WorkerExit(worker.pid, stderr_tail=without_chatter(log), detail=detail)
        await asyncio.sleep(0.2)
    if job is None or job.ending is None:
        detail = "" if job is None or not job.words else f"{title}'s job {job.id} is {job.words}."
        return WorkerExit(worker.pid, stderr_tail=without_chatter(log), detail=detail)
    detail, log = job.ending
    return WorkerExit(worker.pid, None, "MEMORY" in detail.upper() or None, log, detail)
