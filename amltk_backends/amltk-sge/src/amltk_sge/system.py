"""Grid Engine: how its commands report the states and ends of jobs."""

from __future__ import annotations

import re
import time
import xml.etree.ElementTree as ET
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from amltk.exceptions import BatchSystemError
from amltk_dask_jobqueue.system import BatchSystem, Commands, JobState

_ASKED_WHY = 3
_ACCOUNTED_WITHIN = 8.0


class GridEngine(BatchSystem):
    """Grid Engine: `qsub`, `qdel`, `qstat`, and `qacct` for jobs that have ended."""

    name = "sge"
    title = "Grid Engine"
    cluster = "SGECluster"
    submit_command = "qsub"
    cancel_command = "qdel"

    def states(self, commands: Commands, ids: Sequence[str]) -> Mapping[str, JobState]:
        """Ask `qstat`. It explains one waiting job at a time, so only the first few get a reason."""
        found = {}
        for job in ET.fromstring(commands.ask("qstat", "-xml")).iter("job_list"):  # noqa: S314 - from the batch system itself
            number, state = job.findtext("JB_job_number", ""), job.findtext("state", "")
            if number in ids:
                found[number] = JobState("q" in state, state, stuck="E" in state)
        for number in [each for each, state in found.items() if state.waiting][:_ASKED_WHY]:
            if why := _why(commands, number):
                found[number] = found[number]._replace(words=f"{found[number].words} ({why})")
        return found

    def ending(self, commands: Commands, job: str) -> str:
        """Ask `qacct`, which knows a job some seconds after its end."""
        deadline = time.monotonic() + _ACCOUNTED_WITHIN
        while True:
            try:
                said = commands.ask("qacct", "-j", job)
                break
            except BatchSystemError as error:
                if "not found" not in error.output or time.monotonic() > deadline:
                    raise
                time.sleep(0.5)
        fields = dict(re.findall(r"^(failed|exit_status)\s+(\S.*?)\s*$", said, re.MULTILINE))
        failed, code = fields.get("failed", "0"), fields.get("exit_status", "0")
        return "exit status 0" if failed == code == "0" else f"failed {failed}, exit status {' '.join(code.split())}"

    def adjust(self, options: dict[str, Any], folder: Path) -> None:  # noqa: ARG002 - dask-jobqueue names the files
        """Let jobs run once: one of a failed node would run again, when the program may have ended."""
        options["job_extra_directives"] = ["-r n", *(options.get("job_extra_directives") or [])]


def _why(commands: Commands, job: str) -> str:
    try:
        said = commands.ask("qstat", "-j", job)
    except BatchSystemError:  # the job has just ended
        return ""
    found = re.search(r"^(?:scheduling info|error reason\s+\d+):\s+(\S.*)$", said, re.MULTILINE)
    return "" if found is None else found[1].strip()
