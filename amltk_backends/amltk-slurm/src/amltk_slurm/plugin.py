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
        """Run calls in jobs of Slurm. Each job is a worker, which runs one call at a time.

        Args:
            n_workers: Maximum number of workers.
            queue: The partition; by default that of the cluster.
            walltime: The time limit of a job, such as "01:30:00". Its call then fails with `WorkerDied`.
            account: The account that pays for the jobs.
            submit_command: Replaces "sbatch", for example "sbatch --qos=long".
            **options: For `dask_jobqueue.SLURMCluster`: `job_extra_directives=["--gres=gpu:1"]`,
                `job_script_prologue=["module load cuda"]`, `python=`, `interface=` and others.
        """
        super().__init__(n_workers, queue=queue, walltime=walltime, account=account, **options)
