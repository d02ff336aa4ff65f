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
        """Run calls in jobs of LSF, each of which is a worker that runs one call at a time.

        Args:
            n_workers: How many workers there are at most.
            queue: Of the batch system; by default its own choice.
            walltime: After which a job is ended, as in "01:30", hours and minutes; its call then fails with
                `WorkerDied`.
            project: What the jobs belong to.
            submit_command: Instead of "bsub", as in "bsub -sp 10".
            **options: For `dask_jobqueue.LSFCluster`: `job_extra_directives=["-gpu num=1"]`, `use_stdin=True`,
                `job_script_prologue=["module load cuda"]`, `python=`, `interface=` and others.
        """
        super().__init__(n_workers, queue=queue, walltime=walltime, project=project, **options)
