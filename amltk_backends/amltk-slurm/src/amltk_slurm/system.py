"""What Slurm's words mean."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from amltk.exceptions import BatchSystemError
from amltk_dask_jobqueue.system import BatchSystem, Commands, JobState

# Reasons to wait that only a change of the job, or of the cluster, takes away.
_FOR_EVER = re.compile(r"PartitionConfig|Partition\w*Limit|BadConstraints|Invalid\w+|\w+MaxWallDurationPerJobLimit")
_FOR_EVER_PER_JOB = re.compile(r"(Assoc|QOS)Max\w+PerJob\w*")


class Slurm(BatchSystem):
    """Slurm: `sbatch`, `scancel`, `squeue`, and `scontrol` for jobs that have just ended."""

    name = "slurm"
    title = "Slurm"
    cluster = "SLURMCluster"
    submit_command = "sbatch"
    cancel_command = "scancel"

    def states(self, commands: Commands, ids: Sequence[str]) -> Mapping[str, JobState]:
        """Ask `squeue`."""
        try:
            said = commands.ask("squeue", "--noheader", f"--jobs={','.join(ids)}", "--format=%i:%T:%r")
        except BatchSystemError as error:
            if "Invalid job id" in error.output:  # it says so if it knows none of them
                return {}
            raise
        found = {}
        for line in said.splitlines():
            job, state, reason = (*line.strip().split(":", 2), "", "")[:3]
            why = "" if reason in {"", "None"} else f" ({reason})"
            stuck = bool(_FOR_EVER.fullmatch(reason) or _FOR_EVER_PER_JOB.fullmatch(reason))
            found[job] = JobState(state == "PENDING", f"{state}{why}", stuck=state == "PENDING" and stuck)
        return {job: state for job, state in found.items() if state.words.split()[0] not in _ENDED}

    def ending(self, commands: Commands, job: str) -> str:
        """Ask `scontrol`, which forgets jobs soon after their end, then `sacct`, which not all clusters have."""
        try:
            said = commands.ask("scontrol", "show", "job", job)
        except BatchSystemError:
            how = ("--noheader", "--allocations", "--parsable2", "--format=State")
            return commands.ask("sacct", *how, f"--jobs={job}").strip()
        fields = dict(re.findall(r"\b(JobState|Reason|ExitCode)=(\S+)", said))
        state, reason, code = (fields.get(key, "") for key in ("JobState", "Reason", "ExitCode"))
        if state not in _ENDED:
            return ""
        more = [*([] if reason in {"", "None", "NonZeroExitCode", state} else [reason]), _MEANING.get(state, "")]
        if state == "FAILED":
            more.append(f"exit code {code}")
        more = [each for each in more if each]
        return f"{state} ({', '.join(more)})" if more else state

    def adjust(self, options: dict[str, Any], folder: Path) -> None:  # noqa: ARG002 - dask-jobqueue names the files
        """Have jobs end that are preempted, or whose node fails, and be replaced: requeued ones wait for minutes."""
        options["job_extra_directives"] = ["--no-requeue", *(options.get("job_extra_directives") or [])]


_ENDED = {
    *("BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL"),
    *("OUT_OF_MEMORY", "PREEMPTED", "REVOKED", "TIMEOUT"),
}
_MEANING = {
    "CANCELLED": "somebody cancelled it",
    "NODE_FAIL": "its node failed",
    "OUT_OF_MEMORY": "it used more memory than it had asked for",
    "PREEMPTED": "other jobs needed its place",
    "TIMEOUT": "its walltime was over",
}
