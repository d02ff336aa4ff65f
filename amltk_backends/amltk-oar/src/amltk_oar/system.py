"""OAR: how its commands report the states and ends of jobs."""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from amltk_dask_jobqueue.system import BatchSystem, CleanedUp, Commands, JobState

_WAITING = {"Waiting", "Hold", "toLaunch", "toAckReservation", "Launching"}
_ENDED = {"Terminated", "Error"}


class OAR(BatchSystem):
    """OAR: `oarsub`, `oardel`, `oarstat`."""

    name = "oar"
    title = "OAR"
    cluster = "OARCluster"
    submit_command = "oarsub"
    cancel_command = "oardel"

    def states(self, commands: Commands, ids: Sequence[str]) -> Mapping[str, JobState]:
        """Ask `oarstat`."""
        found = {}
        for job, told in _ask(commands, ids).items():
            state, message = told.get("state", ""), told.get("message") or ""
            if state not in _ENDED:
                words = f"{state} ({message})" if message else state
                kind = CleanedUp if state == "Finishing" else JobState
                found[job] = kind(state in _WAITING, words, stuck=state == "Hold")
        return found

    def ending(self, commands: Commands, job: str) -> str:
        """Ask `oarstat`, which remembers a job's events."""
        told = _ask(commands, [job]).get(job, {})
        state, code = told.get("state", ""), told.get("exit_code")
        events = [_event(each) for each in told.get("events") or ()]
        said = [*events[:2], *([f"exit code {os.waitstatus_to_exitcode(code)}"] if code else [])]
        return f"{state} ({'; '.join(said)})" if said else state

    def adjust(self, options: dict[str, Any], folder: Path) -> None:
        """Name the output files, which dask-jobqueue leaves to OAR, and disable its warning about memory."""
        files = [f"-O {shlex.quote(f'{folder}/%jobid%.out')}", f"-E {shlex.quote(f'{folder}/%jobid%.err')}"]
        options["job_extra_directives"] = [*files, *(options.get("job_extra_directives") or [])]
        if options.get("memory_per_core_property_name") is None:
            options["memory_per_core_property_name"] = "not_applicable"


def _ask(commands: Commands, ids: Sequence[str]) -> dict[str, dict[str, Any]]:
    said = commands.ask("oarstat", "--json", "--full", *(word for job in ids for word in ("--job", job)))
    found: dict[str, dict[str, Any]] = json.loads(said) if said.strip() else {}
    return found


def _event(event: Any) -> str:
    if isinstance(event, dict):
        return f"{event.get('type', '')}: {event.get('description', '')}".strip(": ")
    return str(event)
