"""Moab: how its commands report the states and ends of jobs."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from amltk.exceptions import BatchSystemError
from amltk_dask_jobqueue.system import BatchSystem, Commands, JobState

_WAITING = {
    *("Idle", "Deferred", "Hold", "BatchHold", "SystemHold", "UserHold"),
    *("NotQueued", "Staging", "Migrated", "Blocked"),
}
_ALIVE = {"Starting", "Running", "Suspended"}
_COPIES = ("#PBS -e ", "#PBS -o ")  # the lines of dask-jobqueue
_HELD = re.compile(r"\w*Hold|Deferred")


class Moab(BatchSystem):
    """Moab: `msub`, `canceljob`, `checkjob`."""

    name = "moab"
    title = "Moab"
    cluster = "MoabCluster"
    submit_command = "msub"
    cancel_command = "canceljob"

    def states(self, commands: Commands, ids: Sequence[str]) -> Mapping[str, JobState]:
        """Ask `checkjob`, one job at a time."""
        found = {}
        for job in ids:
            state, why = _look_at(commands, job)
            if state in _WAITING | _ALIVE:
                found[job] = JobState(state in _WAITING, f"{state}{why}", stuck=bool(_HELD.fullmatch(state)))
        return found

    def ending(self, commands: Commands, job: str) -> str:
        """Ask `checkjob`, which remembers jobs for a while."""
        state, why = _look_at(commands, job)
        return f"{state}{why}"

    def adjust(self, options: dict[str, Any], folder: Path) -> None:
        """Let jobs write into the folder themselves, and run once, as with PBS: Torque mostly runs them."""
        options["job_directives_skip"] = [*_COPIES, *(options.get("job_directives_skip") or [])]
        directives = ["-o /dev/null", "-e /dev/null", "-r n"]
        options["job_extra_directives"] = [*directives, *(options.get("job_extra_directives") or [])]
        file = f"{shlex.quote(str(folder))}/job-$PBS_JOBID.log"
        redirect = f"{{ : >> {file}; }} 2> /dev/null && exec >> {file} 2>&1"
        options["job_script_prologue"] = [redirect, *options["job_script_prologue"]]


def _look_at(commands: Commands, job: str) -> tuple[str, str]:
    try:
        said = commands.ask("checkjob", job)
    except BatchSystemError as error:
        if re.search(r"invalid job|cannot locate|not found", error.output, re.IGNORECASE):
            return "", ""
        raise
    fields = dict(
        re.findall(r"^\s*(State|Completion Code|Block Reason|Holds|BLOCK MSG):\s*(.+?)\s*$", said, re.MULTILINE)
    )
    reasons = [f"{name.lower()}: {text}" for name, text in fields.items() if name != "State"]
    return fields.get("State", ""), f" ({', '.join(reasons)})" if reasons else ""
