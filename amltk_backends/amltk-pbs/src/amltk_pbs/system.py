"""PBS (OpenPBS, PBS Professional, Torque): how its commands report the states and ends of jobs."""

from __future__ import annotations

import re
import shlex
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from amltk.exceptions import BatchSystemError
from amltk_dask_jobqueue.system import BatchSystem, CleanedUp, Commands, JobState

_WAITING = {"Q": "queued", "H": "held", "W": "waiting for its time", "T": "being moved", "S": "suspended"}
_ALIVE = {"R": "running", "E": "ending", "B": "an array that runs"}
_FOR_EVER = re.compile(r"Can Never Run\b", re.IGNORECASE)  # the start of the scheduler's comment
_COPIES = ("#PBS -e ", "#PBS -o ")  # the lines of dask-jobqueue
_UNKNOWN = re.compile(r"unknown job|has finished|does not exist|cannot locate", re.IGNORECASE)


class PBS(BatchSystem):
    """PBS: `qsub`, `qdel` and `qstat`."""

    name = "pbs"
    title = "PBS"
    cluster = "PBSCluster"
    submit_command = "qsub"
    cancel_command = "qdel"

    def states(self, commands: Commands, ids: Sequence[str]) -> Mapping[str, JobState]:
        """Ask `qstat`, which fails if it doesn't know one of the jobs, but still reports the others."""
        found = {}
        for job, fields in _jobs(_output(commands, "qstat", "-f", *ids)).items():
            state = fields.get("job_state", "")
            comment = f" ({fields['comment']})" if fields.get("comment") else ""
            if job in ids and state in _WAITING | _ALIVE:
                words = (_WAITING | _ALIVE)[state]
                kind = CleanedUp if state == "E" else JobState
                stuck = state == "H" or (state == "Q" and bool(_FOR_EVER.match(fields.get("comment", ""))))
                found[job] = kind(state in _WAITING, f"{state}, {words}{comment}", stuck=stuck)
        return found

    def ending(self, commands: Commands, job: str) -> str:
        """Ask `qstat` for ended jobs: Torque remembers them for a while, PBS if the cluster enables that."""
        fields: dict[str, str] = {}
        for options in (("-x", "-f"), ("-f",)):
            fields = fields or _jobs(_output(commands, "qstat", *options, job)).get(job, {})
        said = [fields["comment"]] if fields.get("comment") else []
        said += [f"exit status {fields[name]}{_meaning(name, fields[name])}" for name in _MEANING if name in fields]
        asked, used = (fields.get(f"{name}.walltime", "") for name in ("Resource_List", "resources_used"))
        if asked and _seconds(used) >= _seconds(asked) > 0:
            said.append(f"it had run for {used}, its walltime was {asked}")
        return ", ".join(said)

    def adjust(self, options: dict[str, Any], folder: Path) -> None:
        """Let jobs write into the folder themselves, and run once.

        PBS would copy the output when the job has ended, and the folder may be gone by then. It would also repeat a job
        of a failed node, minutes later, when the program may have ended.
        """
        options["job_directives_skip"] = [*_COPIES, *(options.get("job_directives_skip") or [])]
        directives = ["-o /dev/null", "-e /dev/null", "-r n"]
        options["job_extra_directives"] = [*directives, *(options.get("job_extra_directives") or [])]
        file = f"{shlex.quote(str(folder))}/job-${{PBS_JOBID:-$SLURM_JOB_ID}}.log"
        redirect = f"{{ : >> {file}; }} 2> /dev/null && exec >> {file} 2>&1"
        options["job_script_prologue"] = [redirect, *options["job_script_prologue"]]


def _output(commands: Commands, *command: str) -> str:
    try:
        return commands.ask(*command)
    except BatchSystemError as error:
        if "Job Id:" in error.output or not error.output or _UNKNOWN.search(error.output):
            return error.output
        raise


def _jobs(said: str) -> dict[str, dict[str, str]]:
    """Parse the output of `qstat -f`; return the fields of each job by its number."""
    found: dict[str, dict[str, str]] = {}
    for block in re.split(r"^Job Id:\s*", re.sub(r"\n\t(?!\w+(\.\w+)? = )", "", said), flags=re.MULTILINE)[1:]:
        number = re.match(r"\d+", block)
        if number is not None:
            found[number[0]] = dict(re.findall(r"^\s+(\S+) = (.*)$", block, flags=re.MULTILINE))
    return found


_MEANING = {
    "Exit_status": {-29: "its walltime was over"},
    "exit_status": {-10: "it used more memory than it had requested", -11: "its walltime was over"},  # Torque's
}


def _meaning(name: str, status: str) -> str:
    """Explain an exit status above 256, or one of PBS's own."""
    code = int(status)
    if code in _MEANING[name]:
        return f" ({_MEANING[name][code]})"
    if code > 256:
        try:
            return f" (killed by {signal.Signals(code - 256).name})"
        except ValueError:
            return ""
    return ""


def _seconds(time: str) -> int:
    """Convert a time such as "01:30:00" to seconds; 0 if it is no time."""
    if not re.fullmatch(r"(\d+:){0,3}\d+", time):
        return 0
    units = (1, 60, 3600, 86400)
    return sum(unit * int(part) for unit, part in zip(units, reversed(time.split(":")), strict=False))
