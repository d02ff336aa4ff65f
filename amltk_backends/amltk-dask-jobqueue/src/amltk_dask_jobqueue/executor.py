"""The executor of a batch system: dask's executor, whose workers run in jobs."""

from __future__ import annotations

import contextlib
import functools
import math
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import dask
from distributed import Client

from amltk.checks import check_not_patched
from amltk.exceptions import BatchSystemError
from amltk_dask.cluster_config import NO_PROFILE
from amltk_dask.executor import DaskExecutor
from amltk_dask_jobqueue.cluster import open_cluster
from amltk_dask_jobqueue.demand import Demand
from amltk_dask_jobqueue.exits import EXIT_INFO_SECONDS
from amltk_dask_jobqueue.job_reaper import JobReaper
from amltk_dask_jobqueue.supervisor import Supervisor
from amltk_dask_jobqueue.system import BatchSystem, Commands

__all__ = ["JobQueueExecutor", "open_executor"]


class JobQueueExecutor(DaskExecutor):
    """Runs calls in workers that are jobs of a batch system."""

    supervisor: Supervisor

    def worker_counts(self) -> Mapping[str, int]:
        """Return how many jobs are wanted, how many of them are queued and connected, and how many were lost."""
        return self.supervisor.counts()


def open_executor(
    system: BatchSystem,
    *,
    n_workers: int,
    adaptive: bool = True,
    heartbeat_timeout: float | None = None,
    submit_command: str | None = None,
    cancel_command: str | None = None,
    options: Mapping[str, Any],
) -> JobQueueExecutor:
    """Submit the first job, and return an executor for calls.

    Args:
        system: The batch system.
        n_workers: The number of workers; with `adaptive`, the maximum.
        adaptive: Whether to keep only as many workers as there are calls.
        heartbeat_timeout: As for `DaskExecutor`.
        submit_command: Replaces the system's.
        cancel_command: Replaces the system's.
        options: The options of dask-jobqueue's cluster. With `processes=`, each job has that many workers.

    Raises:
        BatchSystemError: The batch system refuses the job.
        NotSupportedError: gevent has patched modules that dask needs.
    """
    check_not_patched(f"with_{system.name}", "threading", "select")
    commands = Commands(system, submit_command, cancel_command)
    commands.find()
    opened = contextlib.ExitStack()
    try:
        folder = options.get("log_directory")
        reaper = JobReaper(
            commands.cancel, None if folder is None else Path(folder).absolute(), f".amltk-{system.name}-"
        )
        opened.callback(reaper.close)
        scratch = reaper.scratch(f"amltk-{system.name}-")
        opened.callback(_forget, scratch)
        with dask.config.set(NO_PROFILE):
            cluster = open_cluster(system, commands, options, reaper.folder, reaper.private, scratch)
        opened.callback(cluster.close)
        per_job = int(cluster.new_spec["options"]["processes"])
        executor: JobQueueExecutor
        work = (lambda: math.ceil(executor.calls_left / per_job)) if adaptive else None
        supervisor = Supervisor(
            cluster,
            commands,
            reaper,
            demand=Demand(math.ceil(n_workers / per_job), work),
            release=lambda address: executor.release(address),  # noqa: PLW0108 - the executor does not exist yet
            give_up=lambda error: executor.fail_pending(error),  # noqa: PLW0108
        )
        end_jobs = functools.partial(cluster.sync, supervisor.end)
        opened.callback(end_jobs)
        cluster.sync(supervisor.submit)  # most mistakes show with the first job, and the error is raised here
        client = Client(cluster, set_as_default=False)
        opened.callback(client.close)

        def kill() -> tuple[()]:
            end_jobs()
            return ()

        executor = JobQueueExecutor(
            client,
            close=opened.close,
            kill=kill,
            heartbeat_timeout=heartbeat_timeout,
            exit_info=supervisor.exit_info,
            exit_info_seconds=2 * EXIT_INFO_SECONDS,  # it returns what is known after its own time limit
            lose=supervisor.lose,
        )
        executor.supervisor = supervisor
        cluster.sync(supervisor.watch)
    except BatchSystemError as error:
        opened.close()
        raise error.with_traceback(None) from None  # the traceback through dask does not help the user
    except BaseException:
        opened.close()
        raise
    return executor


def _forget(scratch: str) -> None:
    """Remove the scheduler's folder, and the entries that dask has added to `sys.path` for it."""
    shutil.rmtree(scratch, ignore_errors=True)
    sys.path[:] = [each for each in sys.path if not each.startswith(scratch)]
