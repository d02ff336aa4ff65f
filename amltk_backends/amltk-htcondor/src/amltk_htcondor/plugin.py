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
        """Run calls in jobs of HTCondor, each of which is a worker that runs one call at a time.

        Args:
            n_workers: How many workers there are at most.
            disk: Of each worker, as in "1 GB"; HTCondor has to know it.
            submit_command: Instead of "condor_submit", as in "condor_submit -name schedd".
            **options: For `dask_jobqueue.HTCondorCluster`: `job_extra_directives={"Requirements": "HasGPU"}`,
                `job_script_prologue=["module load cuda"]`, `python=`, `interface=` and others.
        """
        super().__init__(n_workers, disk=disk, **options)
