"""The backend `sge`."""

from __future__ import annotations

from typing import Any, ClassVar

from amltk_dask_jobqueue.backend import BatchBackend
from amltk_sge import system

AMLTK_CONTRACT = 1


class GridEngine(BatchBackend):
    """The backend `sge`."""

    system: ClassVar[system.GridEngine] = system.GridEngine()

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
        """Run calls in jobs of Grid Engine, each of which is a worker that runs one call at a time.

        Args:
            n_workers: How many workers there are at most.
            queue: Of the batch system; by default its own choice.
            walltime: After which a job is ended, as in "01:30:00"; its call then fails with `WorkerDied`.
            project: What the jobs belong to.
            resource_spec: What is asked of Grid Engine for `-l`, as in "h_vmem=6G": it is not derived from
                `memory`.
            cores: Of each worker, all for the call that it runs. Grid Engine hears of them by a parallel
                environment only: `job_extra_directives=["-pe smp 4"]`.
            submit_command: Instead of "qsub", as in "qsub -p -10".
            **options: For `dask_jobqueue.SGECluster`: `job_extra_directives=["-pe smp 4"]`,
                `job_script_prologue=["module load cuda"]`, `python=`, `interface=` and others.
        """
        super().__init__(
            n_workers, queue=queue, walltime=walltime, project=project, resource_spec=resource_spec, **options
        )
