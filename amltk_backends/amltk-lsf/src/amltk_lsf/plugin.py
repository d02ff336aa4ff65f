"""The backend `lsf`."""

from __future__ import annotations

from typing import Any, ClassVar

from amltk_dask_jobqueue.backend import BatchBackend
from amltk_lsf import system

AMLTK_CONTRACT = 1


class LSF(BatchBackend):
    """The backend `lsf`."""

    system: ClassVar[system.LSF] = system.LSF()

    def __init__(
        self,
        n_workers: int,
        *,
        queue: str | None = None,
        walltime: str | None = None,
        project: str | None = None,
        **options: Any,
    ) -> None:
        """Run calls in jobs of LSF. Each job is a worker, which runs one call at a time.

        Args:
            n_workers: Maximum number of workers.
            queue: The queue; by default the batch system chooses.
            walltime: The time limit of a job in hours and minutes, such as "01:30". Its call then fails with
                `WorkerDied`.
            project: The project of the jobs.
            submit_command: Replaces "bsub", for example "bsub -sp 10".
            **options: For `dask_jobqueue.LSFCluster`: `job_extra_directives=["-gpu num=1"]`, `use_stdin=True`,
                `job_script_prologue=["module load cuda"]`, `python=`, `interface=` and others.
        """
        super().__init__(n_workers, queue=queue, walltime=walltime, project=project, **options)
