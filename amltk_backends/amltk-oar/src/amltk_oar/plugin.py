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
        """Run calls in jobs of OAR, each of which is a worker that runs one call at a time.

        Args:
            n_workers: How many workers there are at most.
            queue: Of the batch system; by default its own choice.
            walltime: After which a job is ended, as in "01:30:00"; its call then fails with `WorkerDied`.
            project: What the jobs belong to.
            resource_spec: What is asked of OAR, instead of `/nodes=1/core=<cores>`.
            submit_command: Instead of "oarsub", as in "oarsub --notify mail:me".
            **options: For `dask_jobqueue.OARCluster`: `job_extra_directives=["-t besteffort"]`,
                `job_script_prologue=["module load cuda"]`, `python=`, `interface=` and others.
        """
        super().__init__(
            n_workers, queue=queue, walltime=walltime, project=project, resource_spec=resource_spec, **options
        )
