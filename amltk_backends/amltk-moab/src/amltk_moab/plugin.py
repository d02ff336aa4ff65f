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
        """Run calls in jobs of Moab, each of which is a worker that runs one call at a time.

        Args:
            n_workers: How many workers there are at most.
            queue: Of the batch system; by default its own choice.
            walltime: After which a job is ended, as in "01:30:00"; its call then fails with `WorkerDied`.
            account: What the jobs are charged to.
            resource_spec: What is asked of Moab, instead of `select=1:ncpus=<cores>:mem=<memory>`, which most
                need, as in "nodes=1:ppn=4,mem=6gb".
            **options: For `dask_jobqueue.MoabCluster`: `job_extra_directives=["-m n"]`,
                `job_script_prologue=["module load cuda"]`, `python=`, `interface=` and others.
        """
        super().__init__(
            n_workers, queue=queue, walltime=walltime, account=account, resource_spec=resource_spec, **options
        )
