"""HTCondor: how its commands report the states and ends of jobs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from amltk_dask_jobqueue.system import BatchSystem, Commands, JobState

_STATES = {
    "1": "Idle",
    "2": "Running",
    "3": "Removed",
    "4": "Completed",
    "5": "Held",
    "6": "Transferring Output",
    "7": "Suspended",
}
_ENDED = {"Removed", "Completed"}
_NOTHING = {"", "undefined"}


class HTCondor(BatchSystem):
    """HTCondor: `condor_submit`, `condor_rm`, `condor_q`, and `condor_history` for jobs that have ended."""

    name = "htcondor"
    title = "HTCondor"
    cluster = "HTCondorCluster"
    submit_command = "condor_submit"
    cancel_command = "condor_rm"
    named_directives = True

    def states(self, commands: Commands, ids: Sequence[str]) -> Mapping[str, JobState]:
        """Ask `condor_q`."""
        found = {}
        for line in commands.ask("condor_q", *ids, "-autoformat:j", "JobStatus", "HoldReason").splitlines():
            job, status, reason = (*line.strip().split(maxsplit=2), "", "")[:3]
            state = _STATES.get(status, status)
            if state not in _ENDED and job in ids:
                why = "" if reason in _NOTHING else f" ({reason})"
                found[job] = JobState(state in {"Idle", "Held"}, f"{state}{why}", stuck=state == "Held")
        return found

    def ending(self, commands: Commands, job: str) -> str:
        """Ask `condor_history`."""
        fields = ("JobStatus", "ExitCode", "ExitSignal", "RemoveReason")
        said = commands.ask("condor_history", job, "-limit", "1", "-autoformat", *fields)
        status, code, number, reason = (*said.strip().split(maxsplit=3), "", "", "", "")[:4]
        more = [
            *([f"exit code {code}"] if code not in _NOTHING else []),
            *([f"signal {number}"] if number not in _NOTHING else []),
            *([reason] if reason not in _NOTHING else []),
        ]
        state = _STATES.get(status, status)
        return f"{state} ({', '.join(more)})" if more else state

    def adjust(self, options: dict[str, Any], folder: Path) -> None:  # noqa: ARG002 - dask-jobqueue names the files
        """Keep HTCondor's own log of events apart from the output of jobs."""
        directives = {"Log": "$(LogDirectory)/events", **(options.get("job_extra_directives") or {})}
        options["job_extra_directives"] = directives
