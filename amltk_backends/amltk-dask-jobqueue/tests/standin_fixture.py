"""What tests do with the stand-in: `standin` is imported by the conftests of all batch systems."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import standin_batch_system

from amltk_dask_jobqueue import demand, exits, supervisor

COMMANDS = [
    *("sbatch", "scancel", "squeue", "scontrol", "bsub", "bkill", "bjobs"),
    *("msub", "canceljob", "checkjob", "condor_submit", "condor_rm", "condor_q", "condor_history"),
]


class StandIn:
    """The stand-in, as a test sees it.

    Attributes:
        home: Where it keeps its jobs.
        commands: The folder that is first on PATH.
    """

    def __init__(self, folder: Path) -> None:
        self.home, self.commands = folder / "jobs", folder / "commands"
        for each in (self.home, self.commands):
            each.mkdir()
        for name in COMMANDS:
            self.add(name)

    def add(self, name: str, *, like: str | None = None) -> Path:
        program = shlex.join([sys.executable, "-I", "-S", standin_batch_system.__file__, like or name, str(self.home)])
        path = self.commands / name
        path.write_text(f'#!/bin/sh\nexec {program} "$@"\n')
        path.chmod(0o755)
        return path

    def refuse(self, words: str) -> None:
        (self.home / "refuse").write_text(words)

    def hold(self, reason: str) -> None:
        (self.home / "hold").write_text(reason)

    def asked(self, command: str) -> list[str]:
        told = self.home / "commands"
        lines = told.read_text().splitlines() if told.exists() else []
        return [line for line in lines if line.split()[0] == command]

    @property
    def submitted(self) -> list[str]:
        return sorted((path.name for path in self.home.iterdir() if path.name.isdigit()), key=int)

    @property
    def alive(self) -> list[str]:
        return [job for job in self.submitted if self.state(job) in {"waiting", "running"}]

    def state(self, job: str) -> str:
        return standin_batch_system.state(self.home, job)[0]

    def script(self, job: str) -> str:
        return (self.home / job / "script").read_text()

    def end(self, job: str, how: str = "cancelled") -> None:
        standin_batch_system.cancel(self.home, job, how)

    def processes(self) -> list[psutil.Process]:
        """Those of jobs, workers and what calls have started."""
        found = []
        for process in psutil.process_iter(["environ", "status"]):  # without what goes meanwhile
            environ, status = process.info["environ"] or {}, process.info["status"]
            alive = status is not None and status != psutil.STATUS_ZOMBIE and process.pid != os.getpid()
            if alive and environ.get("STANDIN") == str(self.home):
                found.append(process)
        return found


@pytest.fixture(scope="module", autouse=True)
def _thread_of_dask(thread_of_dask: None) -> None:
    """For every test of these folders."""


@pytest.fixture
def standin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[StandIn]:
    """A batch system that runs jobs on this machine; the test is in an empty folder, and nothing takes long."""
    here = tmp_path / "here"
    here.mkdir()
    there = StandIn(tmp_path)
    monkeypatch.chdir(here)
    monkeypatch.setenv("PATH", f"{there.commands}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("STANDIN", str(there.home))
    monkeypatch.setattr(demand, "IDLE_SECONDS", 0.5)
    monkeypatch.setattr(supervisor, "LOOK_SECONDS", (0.2, 1.0))
    monkeypatch.setattr(exits, "LOG_SECONDS", 0.5)
    monkeypatch.setattr(supervisor, "TICK_SECONDS", 0.1)
    yield there
    left = [job for job in there.submitted if there.state(job) in {"waiting", "running"}]
    for job in left:
        there.end(job)
    assert not left, "jobs are left"
    assert [path.name for path in here.iterdir() if path.name.startswith(".amltk")] == [], "a folder of logs is left"
