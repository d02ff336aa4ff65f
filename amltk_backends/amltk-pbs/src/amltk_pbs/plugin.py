"""The backend `pbs`."""

from __future__ import annotations

from typing import Any, ClassVar

from amltk_dask_jobqueue.backend import BatchBackend
from amltk_pbs import system

AMLTK_CONTRACT = 1


class PBS(BatchBackend):
    """The backend `pbs`."""

    system: ClassVar[system.PBS] = system.PBS()

    def __init__(
        self,
        n_workers: int,
        *,
        queue: str | None = None,
        walltime: str | None = None,
        account: str | None = None,
        resource_spec: str | None = None,
        **options: Any,
    ) -> None:
        """Run calls in jobs of PBS. Each job is a worker, which runs one call at a time.

        Args:
            n_workers: Maximum number of workers.
            queue: The queue; by default the batch system chooses.
            walltime: The time limit of a job, such as "01:30:00". Its call then fails with `WorkerDied`.
            account: The account that pays for the jobs.
            resource_spec: The request to PBS, instead of `select=1:ncpus=<cores>:mem=<memory>`.
            **options: For `dask_jobqueue.PBSCluster`: `job_extra_directives=["-m n"]`,
                `job_script_prologue=["module load cuda"]`, `python=`, `interface=` and others.
        """
        super().__init__(
            n_workers, queue=queue, walltime=walltime, account=account, resource_spec=resource_spec, **options
        )
