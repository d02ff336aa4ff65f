"""Slurm: how its commands report the states and ends of jobs."""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from amltk.exceptions import BatchSystemError
from amltk_dask_jobqueue.system import BatchSystem, CleanedUp, Commands, JobState

CLEANUP_SECONDS = 3.0
"""Seconds to ask how a job ended while Slurm cleans up after it."""

_LINE = re.compile(r"(\d+):(\w+):(.*?)(?::([\d:-]*\d:\d\d|INVALID))?")  # a reason may contain colons
# Reasons to wait that only a change of the job or of the cluster removes.
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
            said = commands.ask("squeue", "--noheader", f"--jobs={','.join(ids)}", "--format=%i:%T:%r:%M")
        except BatchSystemError as error:
            if "Invalid job id" in error.output:  # the message if it knows none of them
                return {}
            raise
        found = {}
        for line in filter(None, map(_LINE.fullmatch, map(str.strip, said.splitlines()))):
            job, state, reason, ran = line.groups(default="")
            if state in _ENDED:
                continue
            why = "" if reason in {"", "None"} else f" ({reason})"
            stuck = bool(_FOR_EVER.fullmatch(reason) or _FOR_EVER_PER_JOB.fullmatch(reason))
            waits = state == "PENDING"
            # A requeued job has run for zero seconds: Slurm has forgotten when it began.
            ended = state == "COMPLETING" and bool(re.search("[1-9]", ran))
            found[job] = (CleanedUp if ended else JobState)(waits, f"{state}{why}", stuck=waits and stuck)
        return found

    def ending(self, commands: Commands, job: str) -> str:
        """Ask `scontrol`, which forgets jobs soon after their end, then `sacct`, which not all clusters have."""
        # During the clean-up, which mostly takes a moment, `scontrol` does not report how the job ended.
        until = time.monotonic() + CLEANUP_SECONDS
        while (ended := self._ending(commands, job)).startswith("COMPLETING") and time.monotonic() < until:
            time.sleep(0.3)
        return ended

    def _ending(self, commands: Commands, job: str) -> str:
        try:
            said = commands.ask("scontrol", "show", "job", job)
        except BatchSystemError:
            return _accounted(commands, job)
        fields = dict(re.findall(r"\b(JobState|Reason|ExitCode)=(\S+)", said))
        state, reason, code = (fields.get(key, "") for key in ("JobState", "Reason", "ExitCode"))
        if state == "COMPLETING":
            with contextlib.suppress(
                BatchSystemError
            ):  # only the accounting reports the end before the job has left its nodes
                if (accounted := _accounted(commands, job)).partition(" ")[0] in _ENDED:
                    return accounted
        elif state not in _ENDED:
            return ""
        more = [*([] if reason in {"", "None", "NonZeroExitCode", state} else [reason]), _MEANING.get(state, "")]
        if state in {"FAILED", "COMPLETING"}:
            more.append(f"exit code {code}")
        more = [each for each in more if each]
        return f"{state} ({', '.join(more)})" if more else state

    def adjust(self, options: dict[str, Any], folder: Path) -> None:  # noqa: ARG002 - dask-jobqueue names the files
        """End preempted jobs and those of failed nodes, so that they are replaced: requeued jobs wait for minutes."""
        options["job_extra_directives"] = ["--no-requeue", *(options.get("job_extra_directives") or [])]


def _accounted(commands: Commands, job: str) -> str:
    how = ("--noheader", "--allocations", "--parsable2", "--format=State")
    return commands.ask("sacct", *how, f"--jobs={job}").strip()


_ENDED = {
    *("BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL"),
    *("OUT_OF_MEMORY", "PREEMPTED", "REVOKED", "TIMEOUT"),
}
_MEANING = {
    "COMPLETING": "its nodes are being cleaned up",
    "CANCELLED": "somebody cancelled it",
    "NODE_FAIL": "its node failed",
    "OUT_OF_MEMORY": "it used more memory than it had requested",
    "PREEMPTED": "other jobs needed its place",
    "TIMEOUT": "its walltime was over",
}
