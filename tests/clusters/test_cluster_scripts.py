"""What the scripts start is what they promise."""

from __future__ import annotations

import contextlib
import ipaddress
import os
import shlex
import subprocess
from pathlib import Path

import psutil
import pytest
from batch_systems import BatchSystem

pytestmark = [pytest.mark.batch_system, pytest.mark.timeout(300)]

SUBMIT = {
    "slurm": "sbatch --job-name={name} --output={out} --time=1 {script}",
    "sge": "qsub -N {name} -j y -o {out} {script}",
    "pbs": "qsub -N {name} -j oe -o {out} -l walltime=00:01:00 {script}",
    "htcondor": "condor_submit -batch-name {name} executable={script} output={out} request_disk=1MB"
    " request_memory=9MB -queue 1",
    "oar": "oarsub --name={name} --directory=/ --stdout={out} --stderr={out} {script}",
}


def test_a_job_runs(system: BatchSystem, job_name: str, tmp_path: Path, until) -> None:
    script, out = tmp_path / "job.sh", tmp_path / "out"
    script.write_text(f"#!/bin/sh\necho it is ${system.id} here\n")
    script.chmod(0o755)
    subprocess.run(shlex.split(SUBMIT[system.name].format(name=job_name, out=out, script=script)), check=True)
    until(lambda: out.exists() and "here" in out.read_text())
    assert out.read_text().split() != ["it", "is", "here"]
    until(lambda: system.jobs(job_name) == [])


def test_it_listens_on_loopback_only(system: BatchSystem) -> None:
    listening = []
    for process in system.all_processes():
        with contextlib.suppress(psutil.NoSuchProcess):  # some live for a moment only
            listening += [
                each.laddr.ip for each in process.net_connections("inet") if each.status == psutil.CONN_LISTEN
            ]
    assert all(ipaddress.ip_address(each).is_loopback for each in listening)
    assert listening or system.name == "pbs", "nothing listens"


def test_a_second_start_starts_nothing_and_says_the_same(system: BatchSystem) -> None:
    before = system.processes()
    wanted = system.start()
    assert system.processes() == before
    assert {name: value for name, value in wanted.items() if name != "PATH"}.items() <= os.environ.items()
