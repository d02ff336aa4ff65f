"""The backend `slurm`."""

from __future__ import annotations

from typing import Any, ClassVar

from amltk_dask_jobqueue.backend import BatchBackend
from amltk_slurm import system

AMLTK_CONTRACT = 1


class Slurm(BatchBackend):
    """The backend `slurm`."""

    system: ClassVar[system.Slurm] = system.Slurm()

    def __init__(
        self,
        n_workers: int,
        *,
        queue: str | None = None,
        walltime: str | None = None,
        account: str | None = None,
        **options: Any,
    ) -> None:
        """Run calls in jobs of Slurm, each of which is a worker that runs one call at a time.

        Args:
            n_workers: How many workers there are at most.
            queue: The partition; by default the cluster's.
            walltime: After which a job is ended, as in "01:30:00"; its call then fails with `WorkerDied`.
            account: What the jobs are charged to.
            submit_command: Instead of "sbatch", as in "sbatch --qos=long".
            **options: For `dask_jobqueue.SLURMCluster`: `job_extra_directives=["--gres=gpu:1"]`,
                `job_script_prologue=["module load cuda"]`, `python=`, `interface=` and others.
        """
        super().__init__(n_workers, queue=queue, walltime=walltime, account=account, **options)
