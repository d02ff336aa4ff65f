"""The backend `oar`."""

from __future__ import annotations

from typing import Any, ClassVar

from amltk_dask_jobqueue.backend import BatchBackend
from amltk_oar import system

AMLTK_CONTRACT = 1


class OAR(BatchBackend):
    """The backend `oar`."""

    system: ClassVar[system.OAR] = system.OAR()

    def __init__(
        self,
        n_workers: int,
        *,
        queue: str | None = None,
        walltime: str | None = None,
        project: str | None = None,
        resource_spec: str | None = None,
        **options: Any,
    ) -> None:
        """Run calls in jobs of OAR. Each job is a worker, which runs one call at a time.

        Args:
            n_workers: Maximum number of workers.
            queue: The queue; by default the batch system chooses.
            walltime: The time limit of a job, such as "01:30:00". Its call then fails with `WorkerDied`.
            project: The project of the jobs.
            resource_spec: The request to OAR, instead of `/nodes=1/core=<cores>`.
            submit_command: Replaces "oarsub", for example "oarsub --notify mail:me".
            **options: For `dask_jobqueue.OARCluster`: `job_extra_directives=["-t besteffort"]`,
                `job_script_prologue=["module load cuda"]`, `python=`, `interface=` and others.
        """
        super().__init__(
            n_workers, queue=queue, walltime=walltime, project=project, resource_spec=resource_spec, **options
        )
