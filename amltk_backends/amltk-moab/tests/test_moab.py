"""The backend `moab` with stand-ins for its commands, which really run the scripts."""

from __future__ import annotations

import operator
import re
from pathlib import Path

import pytest

from amltk import Scheduler
from amltk.exceptions import BatchSystemError
from amltk.plugins import plugin_manager
from amltk_dask_jobqueue.system import Commands
from amltk_moab.plugin import Moab

SYSTEM = Moab.system

NEEDS = {"cores": 1, "memory": "500 MB", "queue": "short", "walltime": "00:30:00"}


def said(standin, name: str, text: str, code: int = 0) -> Commands:
    """Have a command print something."""
    path = standin.commands / name
    path.write_text(f"#!/bin/sh\ncat <<'END'\n{text}\nEND\nexit {code}\n")
    return Commands(SYSTEM)


def test_calls_run_and_nothing_is_left(standin, nothing_is_left):
    scheduler = Scheduler.with_moab(n_workers=1, **NEEDS)
    results = []
    task = scheduler.task(operator.mul)
    scheduler.on_start(lambda: [task(2, n) for n in range(5)])
    task.on_result(lambda _, result: results.append(result))
    scheduler.run()
    assert sorted(results) == [0, 2, 4, 6, 8]
    assert standin.submitted == ["1"]
    assert standin.alive == []
    assert standin.asked("canceljob") == ["canceljob 1"]


def test_a_refused_job_ends_the_run(standin, nothing_is_left):
    standin.refuse("ERROR:    invalid class")
    scheduler = Scheduler.with_moab(n_workers=1, **NEEDS)
    with pytest.raises(BatchSystemError, match="ERROR:    invalid class"):
        scheduler.run()


def test_jobs_that_die_at_once_are_told_of(standin, nothing_is_left):
    scheduler = Scheduler.with_moab(n_workers=1, python="/nowhere/python", **NEEDS)
    scheduler.on_start(lambda: scheduler.submit(operator.mul, 2, 3))
    with pytest.raises(BatchSystemError, match=r"(?s)Moab's job 3 ended as Completed.*/nowhere/python"):
        scheduler.run()
    assert standin.submitted == ["1", "2", "3"]


def test_the_job_script():
    script = plugin_manager().backend("moab")(n_workers=1, **NEEDS).job_script()
    for line in ["#PBS -q short", "#PBS -l walltime=00:30:00", "#PBS -r n", "#PBS -o /dev/null", "#PBS -e /dev/null"]:
        assert re.search(f"^{line}$", script, re.MULTILINE), script
    assert script.count("#PBS -o ") == script.count("#PBS -e ") == 1, "Torque copies no log into a folder that is gone"
    assert " -m distributed.cli.dask_worker tcp://" in script
    assert "--preload-nanny amltk_dask_jobqueue.worker" in script
    assert f"cd {Path.cwd()}" in script


def test_what_checkjob_says(standin):
    commands = said(standin, "checkjob", "job 7\n\nState: Deferred\nCreds:  user:me\nBlock Reason: no policy\n")
    assert SYSTEM.states(commands, ["7"])["7"] == (True, "Deferred (block reason: no policy)", True)
    assert SYSTEM.states(said(standin, "checkjob", "job 7\nState: Running"), ["7"])["7"] == (False, "Running", False)
    ended = said(standin, "checkjob", "job 7\nState: Completed\nCompletion Code: 271  Time: Mon")
    assert SYSTEM.states(ended, ["7"]) == {}
    assert SYSTEM.ending(ended, "7") == "Completed (completion code: 271  Time: Mon)"
    assert SYSTEM.states(said(standin, "checkjob", "ERROR:  invalid job specified: 7", 1), ["7"]) == {}
