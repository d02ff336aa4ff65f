"""The backend `htcondor`."""

from __future__ import annotations

from typing import Any, ClassVar

from amltk_dask_jobqueue.backend import BatchBackend
from amltk_htcondor import system

AMLTK_CONTRACT = 1


class HTCondor(BatchBackend):
    """The backend `htcondor`."""

    system: ClassVar[system.HTCondor] = system.HTCondor()

    def __init__(
        self,
        n_workers: int,
        *,
        disk: str | None = None,
        **options: Any,
    ) -> None:
        """Run calls in jobs of HTCondor. Each job is a worker, which runs one call at a time.

        Args:
            n_workers: Maximum number of workers.
            disk: The disk space of each worker, such as "1 GB". HTCondor requires it.
            submit_command: Replaces "condor_submit", for example "condor_submit -name schedd".
            **options: For `dask_jobqueue.HTCondorCluster`: `job_extra_directives={"Requirements": "HasGPU"}`,
                `job_script_prologue=["module load cuda"]`, `python=`, `interface=` and others.
        """
        super().__init__(n_workers, disk=disk, **options)
