"""The backend `oar`: what its commands say, as they said it; `tests/clusters` has the real ones."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from amltk import Scheduler
from amltk.exceptions import BatchSystemError
from amltk.plugins import plugin_manager
from amltk_dask_jobqueue.system import Commands
from amltk_oar.plugin import OAR

SYSTEM = OAR.system

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
    script = plugin_manager().backend("oar")(n_workers=1, **NEEDS).job_script()
    for line in [
        "#OAR -q short",
        "#OAR -l /nodes=1/core=1,walltime=00:30:00",
        r"#OAR -O \S+/\.amltk-oar-NAME/%jobid%\.out",
    ]:
        assert re.search(f"^{line}$", script, re.MULTILINE), script
    assert "idempotent" not in script, "only jobs of that type are run again"
    assert f"cd {Path.cwd()}\n" in script
    assert "--preload-nanny amltk_dask_jobqueue.worker" in script


def test_a_refused_job_ends_the_run(said, nothing_is_left):
    said("oarsub", "ERROR : The queue nope does not exist", 1)
    scheduler = Scheduler.with_oar(n_workers=1, **NEEDS)
    with pytest.raises(BatchSystemError, match="ERROR : The queue nope does not exist"):
        scheduler.run()


def test_what_oarstat_says(said):
    jobs = """{"24": {"state": "Running", "message": "R=1", "events": []},
        "25": {"state": "Error", "events": [{"type": "WALLTIME", "description": "[sarko] Job [25] (Elapsed)"}]},
        "26": {"state": "Waiting", "message": null}, "27": {"state": "Terminated", "exit_code": 32512}}"""
    commands = said("oarstat", jobs)
    assert SYSTEM.states(commands, ["24", "25", "26", "27"]) == {
        "24": (False, "Running (R=1)", False),
        "26": (True, "Waiting", False),
    }
    assert SYSTEM.ending(commands, "25") == "Error (WALLTIME: [sarko] Job [25] (Elapsed))"
    assert SYSTEM.ending(commands, "27") == "Terminated (exit code 127)"
    assert SYSTEM.states(said("oarstat", ""), ["24"]) == {}
