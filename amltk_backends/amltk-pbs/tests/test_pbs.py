"""The backend `pbs`: what its commands say, as they said it; `tests/clusters` has the real ones."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from amltk import Scheduler
from amltk.exceptions import BatchSystemError
from amltk.plugins import plugin_manager
from amltk_dask_jobqueue.system import Commands
from amltk_pbs.plugin import PBS

SYSTEM = PBS.system

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
    script = plugin_manager().backend("pbs")(n_workers=1, **NEEDS).job_script()
    for line in ["#PBS -q short", "#PBS -l select=1:ncpus=1:mem=477MB", "#PBS -l walltime=00:30:00"]:
        assert re.search(f"^{line}$", script, re.MULTILINE), script
    for line in ["#PBS -r n", "#PBS -o /dev/null", "#PBS -e /dev/null"]:
        assert f"{line}\n" in script
    assert script.count("#PBS -o ") == script.count("#PBS -e ") == 1, "PBS copies no log into a folder that is gone"
    assert f"cd {Path.cwd()}\n" in script
    assert "--preload-nanny amltk_dask_jobqueue.worker" in script


def test_a_refused_job_ends_the_run(said, nothing_is_left):
    said("qsub", "qsub: Unknown queue", 1)
    scheduler = Scheduler.with_pbs(n_workers=1, **NEEDS)
    with pytest.raises(BatchSystemError, match="qsub: Unknown queue"):
        scheduler.run()


OPENPBS = """\
Job Id: 7.server
    Job_Name = dask-worker
    job_state = Q
    comment = Not Running: Insufficient amount of resource: ncpus (R: 16 A: 8 T:
\t8)

Job Id: 8.server
    job_state = R
Job Id: 9.server
    job_state = F
    Exit_status = 271
"""


def test_what_qstat_says(said):
    commands = said("qstat", f"{OPENPBS}qstat: Unknown Job Id 10.server", 153)
    why = "Not Running: Insufficient amount of resource: ncpus (R: 16 A: 8 T:8)"
    assert SYSTEM.states(commands, ["7", "8", "9", "10"]) == {
        "7": (True, f"Q, queued ({why})", False),
        "8": (False, "R, running", False),
    }
    assert SYSTEM.ending(commands, "9") == "exit status 271 (killed by SIGTERM)"
    over = said("qstat", "Job Id: 9.server\n    job_state = F\n    Exit_status = -29")
    assert SYSTEM.ending(over, "9") == "exit status -29 (its walltime was over)"
    torque = said("qstat", "Job Id: 9.server\n    job_state = C\n    exit_status = -11")
    assert SYSTEM.ending(torque, "9") == "exit status -11 (its walltime was over)"


@pytest.mark.parametrize(
    ("used", "more"), [("00:02:32", ", it had run for 00:02:32, its walltime was 00:02:00"), ("00:01:59", ""), ("", "")]
)
def test_a_walltime_that_was_over_is_seen_by_what_was_used(said, used, more):
    fields = f"Exit_status = 271\n    Resource_List.walltime = 00:02:00\n    resources_used.walltime = {used}"
    commands = said("qstat", f"Job Id: 9.server\n    job_state = F\n    {fields}")
    assert SYSTEM.ending(commands, "9") == f"exit status 271 (killed by SIGTERM){more}"


def test_what_slurms_qstat_says(said):
    text = "Job Id:\t44\n\tJob_Name = x\n\tjob_state = C\n\nJob Id:\t45\n\tjob_state = R\n\teuser = root(0)\n"
    assert SYSTEM.states(said("qstat", text), ["44", "45"]) == {"45": (False, "R, running", False)}


@pytest.mark.parametrize("words", ["qstat: Unknown Job Id 7", "qstat: 7.server Job has finished, use -x or -H"])
def test_a_job_that_qstat_does_not_know_is_gone(said, words):
    assert SYSTEM.states(said("qstat", words, 153), ["7"]) == {}


def test_a_qstat_that_can_not_tell_says_so(said):
    with pytest.raises(BatchSystemError, match="cannot connect to server"):
        SYSTEM.states(said("qstat", "cannot connect to server", 1), ["7"])


def test_the_log_can_be_read_while_the_job_runs():
    script = plugin_manager().backend("pbs")(n_workers=1, **NEEDS).job_script()
    assert re.search(r"exec >> \S+/\.amltk-pbs-NAME/job-\$\{PBS_JOBID:-\$SLURM_JOB_ID\}\.log 2>&1", script)


def test_users_directives_come_last_and_their_skips_count(said):
    options = {"job_extra_directives": ["-r y", "-m n"], "job_directives_skip": ["-N"]}
    script = plugin_manager().backend("pbs")(n_workers=1, **NEEDS, **options).job_script()
    directives = re.findall("^#PBS (.*)$", script, re.MULTILINE)
    assert directives.index("-r n") < directives.index("-r y") < directives.index("-m n")
    assert not [each for each in directives if each.startswith("-N")]


@pytest.mark.parametrize(
    ("state", "comment", "stuck"),
    [
        ("Q", "Can Never Run: Insufficient amount of resource: ncpus (R: 99 A: 8 T: 8)", True),
        ("Q", "can never run: can't fit in the largest placement set", True),
        ("Q", "Not Running: Can never be too sure", False),
        ("R", "Can Never Run: said before the node grew", False),
    ],
)
def test_a_job_that_can_never_run_is_stuck(said, state, comment, stuck):
    commands = said("qstat", f"Job Id: 7.server\n    job_state = {state}\n    comment = {comment}\n")
    assert SYSTEM.states(commands, ["7"])["7"].stuck is stuck
