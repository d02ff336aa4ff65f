"""Registers the backend `sge`."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor
from typing import Any

from amltk.backend import Backend
from amltk.hookspecs import hookimpl
from amltk_dask_jobqueue.backend import batch_backend
from amltk_sge.system import GridEngine

AMLTK_CONTRACT = 1

SYSTEM = GridEngine()


def sge(
    n_workers: int,
    *,
    queue: str | None = None,
    cores: int | None = None,
    memory: str | None = None,
    walltime: str | None = None,
    project: str | None = None,
    resource_spec: str | None = None,
    adaptive: bool = True,
    heartbeat_timeout: float | None = None,
    submit_command: str | None = None,
    cancel_command: str | None = None,
    log_directory: str | None = None,
    **options: Any,
) -> Executor:
    """Run calls in jobs of Grid Engine, each of which is a worker that runs one call at a time.

    The job is written by dask-jobqueue, and its options are those of `dask_jobqueue.SGECluster`; what is
    not said here is taken from dask's configuration, `~/.config/dask/jobqueue.yaml`.
    `amltk doctor sge --job-script` shows it. Jobs that end are replaced; when the run ends, whatever
    ended it, its jobs are cancelled.

    Args:
        n_workers: How many workers there are at most.
        queue: Of the batch system; by default its own choice.
        cores: Of each worker, all for the call that it runs. Grid Engine hears of them by a parallel
            environment only: `job_extra_directives=["-pe smp 4"]`.
        memory: Of each worker, as in "6 GB".
        walltime: After which a job is ended, as in "01:30:00"; its call then fails with `WorkerDied`.
        project: What the jobs belong to.
        resource_spec: What is asked of Grid Engine for `-l`, as in "h_vmem=6G": it is not derived from
            `memory`.
        adaptive: Have as many workers as there are calls, up to `n_workers`, and give back those that
            have nothing to do. False keeps `n_workers` of them for the whole run.
        heartbeat_timeout: After so many seconds without a sign of life from a worker, its calls fail with
            `WorkerLost`, and its job is cancelled. None: they are waited for.
        submit_command: Instead of "qsub", as in "qsub -p -10".
        cancel_command: Instead of "qdel".
        log_directory: Where the jobs write their logs, and where these stay. By default a folder in
            the current directory, which is removed after the run. Nodes have to see it.
        **options: For `dask_jobqueue.SGECluster`: `job_extra_directives=["-pe smp 4"]`,
            `job_script_prologue=["module load cuda"]`, `python=`, `interface=` and others.
    """
    from amltk_dask_jobqueue.executor import open_executor  # dask is imported when it is used

    options |= {
        "queue": queue,
        "cores": cores,
        "memory": memory,
        "walltime": walltime,
        "project": project,
        "resource_spec": resource_spec,
    }
    return open_executor(
        SYSTEM,
        n_workers=n_workers,
        adaptive=adaptive,
        heartbeat_timeout=heartbeat_timeout,
        submit_command=submit_command,
        cancel_command=cancel_command,
        options={**options, "log_directory": log_directory},
    )


@hookimpl
def amltk_register_backends(register: Callable[[Backend], None]) -> None:
    """Register it."""
    register(batch_backend(SYSTEM, sge, summary="Jobs of Grid Engine, on the nodes of a cluster."))
