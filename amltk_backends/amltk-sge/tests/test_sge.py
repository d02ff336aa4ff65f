"""The backend `sge`: what its commands say, as they said it; `tests/clusters` has the real ones."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from amltk import Scheduler
from amltk.exceptions import BatchSystemError
from amltk.plugins import plugin_manager
from amltk_dask_jobqueue.system import Commands
from amltk_sge.plugin import GridEngine

SYSTEM = GridEngine.system

NEEDS = {"cores": 1, "memory": "500 MB", "queue": "short", "walltime": "00:30:00"}


@pytest.fixture
def said(tmp_path, monkeypatch):
    """Have a command print something."""
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.chdir(tmp_path)

    def say(name: str, text: str, code: int = 0) -> Commands:
        path = tmp_path / name
        path.write_text(f"#!/bin/sh\ncat <<'END'\n{text}\nEND\nexit {code}\n")
        path.chmod(0o755)
        return Commands(SYSTEM)

    return say


def test_the_job_script():
    script = plugin_manager().backend("sge")(n_workers=1, **NEEDS).job_script()
    for line in [r"#\$ -q short", r"#\$ -l h_rt=00:30:00", r"#\$ -cwd", r"#\$ -r n"]:
        assert re.search(f"^{line}$", script, re.MULTILINE), script
    assert f"cd {Path.cwd()}\n" in script
    assert "--preload-nanny amltk_dask_jobqueue.worker" in script


def test_a_refused_job_ends_the_run(said, nothing_is_left):
    said("qsub", "job requests unknown queue", 1)
    scheduler = Scheduler.with_sge(n_workers=1, **NEEDS)
    with pytest.raises(BatchSystemError, match="job requests unknown queue"):
        scheduler.run()


JOBS = """<?xml version='1.0'?>
<job_info>
<queue_info><job_list><JB_job_number>12</JB_job_number><state>r</state></job_list></queue_info>
<job_info><job_list><JB_job_number>13</JB_job_number><state>qw</state></job_list>
<job_list><JB_job_number>14</JB_job_number><state>Eqw</state></job_list>
<job_list><JB_job_number>99</JB_job_number><state>qw</state></job_list></job_info>
</job_info>"""


def test_what_qstat_says(said):
    assert SYSTEM.states(said("qstat", JOBS), ["12", "13", "14", "15"]) == {
        "12": (False, "r", False),
        "13": (True, "qw", False),
        "14": (True, "Eqw", True),
    }


def test_why_a_job_waits(said, tmp_path):
    commands = said("qstat", "")
    why = 'scheduling info:            cannot run in PE "smp" because it only offers 0 slots'
    (tmp_path / "jobs.xml").write_text(JOBS)
    (tmp_path / "qstat").write_text(f"#!/bin/sh\n[ $1 = -j ] && echo '{why}' || cat {tmp_path}/jobs.xml\n")
    states = SYSTEM.states(commands, ["13"])
    assert states["13"].words == 'qw (cannot run in PE "smp" because it only offers 0 slots)'


def test_what_qacct_says(said):
    text = "failed       37  : qmaster enforced h_rt, h_cpu, or h_vmem limit\nexit_status  137  (Killed)\n"
    limit = "failed 37  : qmaster enforced h_rt, h_cpu, or h_vmem limit, exit status 137 (Killed)"
    assert SYSTEM.ending(said("qacct", text), "12") == limit
    assert SYSTEM.ending(said("qacct", "failed       0\nexit_status  0\n"), "12") == "exit status 0"
    with pytest.raises(BatchSystemError, match="no accounting file"):
        SYSTEM.ending(said("qacct", "no accounting file", 1), "12")
