"""The backend `htcondor` with stand-ins for its commands, which really run the scripts."""

from __future__ import annotations

import operator
import re
from pathlib import Path

import pytest

from amltk import Scheduler
from amltk.exceptions import BatchSystemError
from amltk.plugins import plugin_manager
from amltk_dask_jobqueue.system import Commands
from amltk_htcondor.plugin import HTCondor

SYSTEM = HTCondor.system

NEEDS = {"cores": 1, "memory": "500 MB", "disk": "1 GB"}


def said(standin, name: str, text: str, code: int = 0) -> Commands:
    """Have a command print something."""
    path = standin.commands / name
    path.write_text(f"#!/bin/sh\ncat <<'END'\n{text}\nEND\nexit {code}\n")
    return Commands(SYSTEM)


def test_calls_run_and_nothing_is_left(standin, nothing_is_left):
    scheduler = Scheduler.with_htcondor(n_workers=1, **NEEDS)
    results = []
    task = scheduler.task(operator.mul)
    scheduler.on_start(lambda: [task(2, n) for n in range(5)])
    task.on_result(lambda _, result: results.append(result))
    scheduler.run()
    assert sorted(results) == [0, 2, 4, 6, 8]
    assert standin.submitted == ["1"]
    assert standin.alive == []
    assert standin.asked("condor_rm") == ["condor_rm 1.0"]


def test_a_refused_job_ends_the_run(standin, nothing_is_left):
    standin.refuse("ERROR: Failed to connect to local queue manager")
    scheduler = Scheduler.with_htcondor(n_workers=1, **NEEDS)
    with pytest.raises(BatchSystemError, match="ERROR: Failed to connect to local queue manager"):
        scheduler.run()


def test_jobs_that_die_at_once_are_told_of(standin, nothing_is_left):
    scheduler = Scheduler.with_htcondor(n_workers=1, python="/nowhere/python", **NEEDS)
    scheduler.on_start(lambda: scheduler.submit(operator.mul, 2, 3))
    with pytest.raises(BatchSystemError, match=r"(?s)HTCondor's job 3.0 ended as Completed.*/nowhere/python"):
        scheduler.run()
    assert standin.submitted == ["1", "2", "3"]


def test_the_job_script():
    script = plugin_manager().backend("htcondor")(n_workers=1, **NEEDS).job_script()
    for line in [
        "RequestCpus = MY.DaskWorkerCores",
        "MY.DaskWorkerMemory = 500000000",
        r"LogDirectory = \S+/\.amltk-htcondor-NAME",
    ]:
        assert re.search(f"^{line}$", script, re.MULTILINE), script
    assert " -m distributed.cli.dask_worker tcp://" in script
    assert "--preload-nanny amltk_dask_jobqueue.worker" in script
    assert f"cd {Path.cwd()}" in script


def test_what_condor_q_says(standin):
    commands = said(standin, "condor_q", "7.0 1 undefined\n8.0 2 undefined\n9.0 5 Error: no such file\n10.0 4 x")
    assert SYSTEM.states(commands, ["7.0", "8.0", "9.0", "10.0"]) == {
        "7.0": (True, "Idle", False),
        "8.0": (False, "Running", False),
        "9.0": (True, "Held (Error: no such file)", True),
    }
    removed = said(standin, "condor_history", "3 undefined undefined via condor_rm (by user me)")
    assert SYSTEM.ending(removed, "7.0") == "Removed (via condor_rm (by user me))"
