"""The batch systems that the scripts beside this start, as tests see them."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import psutil

HERE = Path(__file__).parent
RUNNING = Path("/run/amltk-clusters")
"""Where each has a folder while it runs."""
SOON = 60
"""Seconds within which a job starts, and ends."""


class BatchSystem(NamedTuple):
    """A batch system, on this machine.

    Attributes:
        name: Of the backend, and of the script.
        options: What a small worker is asked for with; there is room for eight.
        queued: Prints what is in the queue.
        job: Finds id and name of a job in that.
        cancel: Ends a job.
        id: A variable in the environment of jobs.
        out_of_time: What it says of a job that has reached its time limit; "" if it has none.
        wrong: Options with which it takes no job.
        refusal: What it says of these.
    """

    name: str
    options: Mapping[str, Any]
    queued: str
    job: str
    cancel: str
    id: str
    out_of_time: str
    wrong: Mapping[str, Any]
    refusal: str

    def options_of(self, job_name: str, **changes: Any) -> dict[str, Any]:
        """Return `options` for jobs of that name, with some of them changed."""
        name = {"job_extra_directives": {"batch_name": job_name}} if self.name == "htcondor" else {"job_name": job_name}
        return {**self.options, **name, **changes}

    def start(self) -> dict[str, str]:
        """Start it, unless it runs; return what it wants to have in the environment."""
        done = subprocess.run(
            ["bash", str(HERE / f"{self.name}.sh"), "start"], stdout=subprocess.PIPE, text=True, check=True
        )
        wanted = {}
        for line in done.stdout.splitlines():
            name, value = line.removeprefix("export ").split("=", 1)
            wanted[name] = value.replace("$PATH", os.environ["PATH"])
        return wanted

    def stop(self) -> None:
        """Stop it; nothing is left of it."""
        subprocess.run(["bash", str(HERE / f"{self.name}.sh"), "stop"], check=True)

    @property
    def runs(self) -> bool:
        """Whether somebody has started it."""
        return (RUNNING / self.name).exists()

    def processes(self) -> list[psutil.Process]:
        """Return those that its script started."""
        return [psutil.Process(int(path.read_text().split()[0])) for path in (RUNNING / self.name).glob("*.pid")]

    def all_processes(self) -> list[psutil.Process]:
        """Return those that its script started, and all that these have."""
        started = self.processes()
        return started + [child for each in started for child in each.children(recursive=True)]

    def jobs(self, name: str) -> list[str]:
        """Return the ids of the jobs of that name."""
        said = subprocess.run(
            shlex.split(self.queued), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=False
        )
        return [job for job, its_name in re.findall(self.job, said.stdout, re.MULTILINE) if its_name == name]

    def cancel_job(self, job: str) -> None:
        """End a job, as its user would who is not amltk."""
        subprocess.run([self.cancel, job], check=True, stdout=subprocess.DEVNULL)


_SQUEUE = {"queued": "squeue --noheader --format=%A:%j", "job": r"^(\d+):(.*)$"}
_NOWHERE = {"queue": "nowhere"}
_SMALL = {"cores": 1, "memory": "500 MB", "walltime": "00:10:00"}

SYSTEMS = {
    each.name: each
    for each in (
        BatchSystem(
            name="slurm",
            options={"queue": "debug", **_SMALL},
            **_SQUEUE,
            cancel="scancel",
            id="SLURM_JOB_ID",
            out_of_time="TIMEOUT",
            wrong=_NOWHERE,
            refusal="invalid partition specified: nowhere",
        ),
        BatchSystem(
            name="sge",
            options={"queue": "main.q", **_SMALL},
            queued="qstat -u * -xml",
            job=r"<JB_job_number>(\d+)</JB_job_number>[^$]*?<JB_name>(.*?)</JB_name>",
            cancel="qdel",
            id="JOB_ID",
            out_of_time="h_rt",
            wrong=_NOWHERE,
            refusal='job requests unknown queue "nowhere"',
        ),
        BatchSystem(
            name="pbs",
            options={"queue": "debug", **_SMALL},
            **_SQUEUE,
            cancel="qdel",
            id="SLURM_JOB_ID",
            out_of_time="SIGTERM",
            wrong=_NOWHERE,
            refusal="invalid partition specified: nowhere",
        ),
        BatchSystem(
            name="oar",
            options={"queue": "default", **_SMALL},
            queued="oarstat --full",
            job=r"^Job_Id: (\d+)$[^$]*?^    name = (.*)$",
            cancel="oardel",
            id="OAR_JOB_ID",
            out_of_time="WALLTIME",
            wrong=_NOWHERE,
            refusal="The queue nowhere does not exist",
        ),
        BatchSystem(
            name="htcondor",
            options={"cores": 1, "memory": "500 MB", "disk": "1 GB"},
            queued="condor_q -allusers -af:j JobBatchName",
            job=r"^(\d+)\.\d+ (.*)$",
            cancel="condor_rm",
            id="_CONDOR_SCRATCH_DIR",
            out_of_time="",
            wrong={"job_extra_directives": {"requirements": "((("}},
            refusal="Parse error in expression",
        ),
    )
}


def lacking() -> str:
    """Return what this machine lacks for starting them; "" if nothing."""
    if os.geteuid() != 0:
        return "starting batch systems takes root"
    return "" if shutil.which("apt-get") else "the batch systems are packages of Debian, and there is no apt-get"


def open_gate(gate: Path) -> None:
    """Make the file that a call waits for, with what it then returns, "done"."""
    part = gate.with_suffix(".part")
    part.write_text("done")
    part.rename(gate)
