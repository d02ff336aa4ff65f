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
        """Run calls in jobs of Grid Engine. Each job is a worker, which runs one call at a time.

        Args:
            n_workers: Maximum number of workers.
            queue: The queue; by default the batch system chooses.
            walltime: The time limit of a job, such as "01:30:00". Its call then fails with `WorkerDied`.
            project: The project of the jobs.
            resource_spec: The request for `-l`, such as "h_vmem=6G". It is not derived from `memory`.
            cores: The cores of each worker, all for its call. Request them from Grid Engine by a parallel
                environment: `job_extra_directives=["-pe smp 4"]`.
            submit_command: Replaces "qsub", for example "qsub -p -10".
            **options: For `dask_jobqueue.SGECluster`: `job_extra_directives=["-pe smp 4"]`,
                `job_script_prologue=["module load cuda"]`, `python=`, `interface=` and others.
        """
        super().__init__(
            n_workers, queue=queue, walltime=walltime, project=project, resource_spec=resource_spec, **options
        )
