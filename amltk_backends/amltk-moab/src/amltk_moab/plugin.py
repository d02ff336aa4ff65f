"""The backend `moab`."""

from __future__ import annotations

from typing import Any, ClassVar

from amltk_dask_jobqueue.backend import BatchBackend
from amltk_moab import system

AMLTK_CONTRACT = 1


class Moab(BatchBackend):
    """The backend `moab`."""

    system: ClassVar[system.Moab] = system.Moab()

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
        """Run calls in jobs of Moab. Each job is a worker, which runs one call at a time.

        Args:
            n_workers: Maximum number of workers.
            queue: The queue; by default the batch system chooses.
            walltime: The time limit of a job, such as "01:30:00". Its call then fails with `WorkerDied`.
            account: The account that pays for the jobs.
            resource_spec: The request to Moab, instead of `select=1:ncpus=<cores>:mem=<memory>`. Most
                clusters need one, such as "nodes=1:ppn=4,mem=6gb".
            **options: For `dask_jobqueue.MoabCluster`: `job_extra_directives=["-m n"]`,
                `job_script_prologue=["module load cuda"]`, `python=`, `interface=` and others.
        """
        super().__init__(
            n_workers, queue=queue, walltime=walltime, account=account, resource_spec=resource_spec, **options
        )
