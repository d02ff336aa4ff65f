"""LSF: how its commands report the states and ends of jobs."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from amltk.exceptions import BatchSystemError
from amltk_dask_jobqueue.system import BatchSystem, Commands, JobState

_WAITING = {"PEND", "PSUSP", "WAIT", "PROV"}
_ENDED = {"DONE", "EXIT"}
_UNKNOWN = re.compile(r"is not found|no matching job|no unfinished job", re.IGNORECASE)


class LSF(BatchSystem):
    """LSF: `bsub`, `bkill`, `bjobs`."""

    name = "lsf"
    title = "LSF"
    cluster = "LSFCluster"
    submit_command = "bsub"
    cancel_command = "bkill"

    def states(self, commands: Commands, ids: Sequence[str]) -> Mapping[str, JobState]:
        """Ask `bjobs`."""
        told = _ask(commands, ids, "pend_reason")
        return {
            job: JobState(state in _WAITING, _words(state, reason), stuck=state == "PSUSP")
            for job, (state, reason) in told.items()
            if state not in _ENDED
        }

    def ending(self, commands: Commands, job: str) -> str:
        """Ask `bjobs`, which on most clusters remembers jobs for an hour."""
        state, reason = _ask(commands, [job], "exit_reason").get(job, ("", ""))
        return _words(state, reason)

    def adjust(self, options: dict[str, Any], folder: Path) -> None:  # noqa: ARG002 - dask-jobqueue names the files
        """Let jobs run once: one of a failed node would run again, when the program may have ended."""
        options["job_extra_directives"] = ["-rn", *(options.get("job_extra_directives") or [])]


def _ask(commands: Commands, ids: Sequence[str], reason: str) -> dict[str, tuple[str, str]]:
    # A delimiter that has no meaning to a shell on the way.
    command = ("bjobs", "-a", "-noheader", "-o", f"jobid stat {reason} delimiter='^'", *ids)
    try:
        said = commands.ask(*command)
    except BatchSystemError as error:
        if not _UNKNOWN.search(error.output):
            raise
        said = error.output
    lines = [line.strip().split("^", 2) for line in said.splitlines() if line.count("^") >= 2]
    return {job: (state, reason) for job, state, reason in lines}


def _words(state: str, reason: str) -> str:
    return state if reason.strip() in {"", "-"} else f"{state} ({reason.strip()})"
