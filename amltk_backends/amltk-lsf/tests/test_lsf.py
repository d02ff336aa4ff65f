"""The backend `lsf` with stand-ins for its commands, which really run the scripts."""

from __future__ import annotations

import operator
import re
from pathlib import Path

import pytest

from amltk import Scheduler
from amltk.exceptions import BatchSystemError
from amltk.plugins import plugin_manager
from amltk_dask_jobqueue.system import Commands
from amltk_lsf.plugin import LSF

SYSTEM = LSF.system

NEEDS = {"cores": 1, "memory": "500 MB", "queue": "short", "walltime": "00:30"}


def said(standin, name: str, text: str, code: int = 0) -> Commands:
    """Have a command print something."""
    path = standin.commands / name
    path.write_text(f"#!/bin/sh\ncat <<'END'\n{text}\nEND\nexit {code}\n")
    return Commands(SYSTEM)


def test_calls_run_and_nothing_is_left(standin, nothing_is_left):
    scheduler = Scheduler.with_lsf(n_workers=1, **NEEDS)
    results = []
    task = scheduler.task(operator.mul)
    scheduler.on_start(lambda: [task(2, n) for n in range(5)])
    task.on_result(lambda _, result: results.append(result))
    scheduler.run()
    assert sorted(results) == [0, 2, 4, 6, 8]
    assert standin.submitted == ["1"]
    assert standin.alive == []
    assert standin.asked("bkill") == ["bkill 1"]


def test_a_refused_job_ends_the_run(standin, nothing_is_left):
    standin.refuse("nope: No such queue. Job not submitted.")
    scheduler = Scheduler.with_lsf(n_workers=1, **NEEDS)
    with pytest.raises(BatchSystemError, match="nope: No such queue"):
        scheduler.run()


def test_jobs_that_die_at_once_are_told_of(standin, nothing_is_left):
    scheduler = Scheduler.with_lsf(n_workers=1, python="/nowhere/python", **NEEDS)
    scheduler.on_start(lambda: scheduler.submit(operator.mul, 2, 3))
    with pytest.raises(BatchSystemError, match=r"(?s)LSF's job 3 ended as EXIT.*/nowhere/python"):
        scheduler.run()
    assert standin.submitted == ["1", "2", "3"]


def test_the_job_script():
    script = plugin_manager().backend("lsf")(n_workers=1, **NEEDS).job_script()
    for line in [
        "#BSUB -q short",
        "#BSUB -n 1",
        "#BSUB -W 00:30",
        "#BSUB -rn",
        r"#BSUB -o \S+/\.amltk-lsf-NAME/NAME-%J\.out",
    ]:
        assert re.search(f"^{line}$", script, re.MULTILINE), script
    assert " -m distributed.cli.dask_worker tcp://" in script
    assert "--preload-nanny amltk_dask_jobqueue.worker" in script
    assert f"cd {Path.cwd()}" in script


def test_what_bjobs_says(standin):
    commands = said(standin, "bjobs", "7^PEND^New job is waiting\n8^RUN^-\n9^EXIT^-\n10^PSUSP^held")
    assert SYSTEM.states(commands, ["7", "8", "9", "10"]) == {
        "7": (True, "PEND (New job is waiting)", False),
        "8": (False, "RUN", False),
        "10": (True, "PSUSP (held)", True),
    }
    limit = "TERM_RUNLIMIT: job killed after reaching LSF run time limit"
    assert SYSTEM.ending(said(standin, "bjobs", f"9^EXIT^{limit}"), "9") == f"EXIT ({limit})"
    assert SYSTEM.states(said(standin, "bjobs", "Job <7> is not found", 255), ["7"]) == {}
    with pytest.raises(BatchSystemError, match="Cannot connect to LSF"):
        SYSTEM.states(said(standin, "bjobs", "Cannot connect to LSF", 255), ["7"])


def test_why_a_script_is_refused_that_goes_by_stdin(standin, nothing_is_left):
    standin.refuse("nope: No such queue")
    scheduler = Scheduler.with_lsf(n_workers=1, use_stdin=True, **NEEDS)
    with pytest.raises(BatchSystemError, match="nope: No such queue"):  # dask-jobqueue throws that away
        scheduler.run()


def test_no_shell_reads_the_submit_command(standin, nothing_is_left, tmp_path):
    mark = tmp_path / "mark"
    scheduler = Scheduler.with_lsf(n_workers=1, use_stdin=True, submit_command=f"bsub ;>{mark} $(>{mark})", **NEEDS)
    scheduler.on_start(lambda: scheduler.submit(operator.mul, 2, 3))
    scheduler.run()
    assert standin.asked("bsub") == [f"bsub ;>{mark} $(>{mark})"]
    assert not mark.exists()
