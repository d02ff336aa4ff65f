"""Cancelling jobs of Slurm, whose commands are stand-ins here and take as long as a test wants."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from calls_for_slurm import begin_and_stand_still, begin_and_wait, where

from amltk import Scheduler
from amltk.exceptions import BatchSystemError, WorkerDied
from amltk_dask_jobqueue import cancelled, job_reaper, supervisor
from amltk_dask_jobqueue.system import Commands
from amltk_slurm.plugin import Slurm

SYSTEM = Slurm.system

pytestmark = pytest.mark.thorough

NEEDS = {"cores": 1, "memory": "500 MB", "walltime": "00:10:00"}
HEARD = {**NEEDS, "silence_logs": False}


@pytest.fixture
def slow(standin, tmp_path):
    """Have a command wait for a gate, which is open at the end."""
    gate = tmp_path / "gate"

    def slow(name: str) -> Path:
        path = standin.commands / f"slow-{name}"
        path.write_text(f'#!/bin/sh\nuntil [ -e "{gate}" ]; do sleep 0.05; done\nexec {standin.commands}/{name} "$@"\n')
        path.chmod(0o755)
        return path

    slow.gate = gate
    yield slow
    gate.touch()


def test_a_lost_worker_is_replaced_while_its_job_is_being_cancelled(standin, nothing_is_left, until, tmp_path, slow):
    begun = tmp_path / "begun"
    scheduler = Scheduler.with_slurm(n_workers=1, heartbeat_timeout=2, cancel_command=str(slow("scancel")), **NEEDS)
    first, second = scheduler.task(begin_and_stand_still), scheduler.task(where)
    seen = []

    @scheduler.on_start
    def go() -> None:
        first(str(begun), str(tmp_path / "late"))
        second()

    @second.on_result
    def note(*_: object) -> None:
        seen.append(standin.asked("scancel"))
        slow.gate.touch()

    scheduler.run(on_exception="ignore")
    assert standin.submitted == ["1", "2"]
    assert seen == [[]], "the command had not yet cancelled the first job when the second worked"
    until(lambda: not standin.processes())


@pytest.mark.parametrize("command", ["scancel", "squeue"])
def test_the_end_waits_for_no_command_that_hangs(standin, nothing_is_left, until, caplog, monkeypatch, slow, command):
    monkeypatch.setattr(supervisor, "GONE_SECONDS", 1.0)
    monkeypatch.setattr(job_reaper, "REAPER_SECONDS", 0.1)
    own = slow(command)
    options = {"cancel_command": str(own)} if command == "scancel" else {}
    scheduler = Scheduler.with_slurm(n_workers=1, **options, **HEARD)
    task = scheduler.task(where)
    scheduler.on_start(task)

    @task.on_result
    def hang(*_: object) -> None:
        if command == "squeue":
            monkeypatch.setattr(Commands, "ask", lambda *_: until(slow.gate.exists) or "")

    scheduler.run()
    [told] = [record.getMessage() for record in caplog.records if "still there" in record.getMessage()]
    assert "Slurm: cancelled jobs are still there after 1 s: job 1" in told
    if command == "scancel":
        assert "job 1 is RUNNING." in told
        assert f"The command '{own} 1' has not answered yet." in told
    else:
        assert "Slurm does not report their state." in told
    slow.gate.touch()
    until(lambda: not standin.alive and not list(Path.cwd().iterdir()))
    until(lambda: not [each for each in threading.enumerate() if each.name.startswith("amltk")])


def test_a_job_whose_submit_command_outlasts_the_end_is_cancelled(
    standin, nothing_is_left, until, monkeypatch, slow, tmp_path
):
    monkeypatch.setattr(supervisor, "GONE_SECONDS", 1.0)
    asked = tmp_path / "asked"
    own = standin.commands / "own-sbatch"
    wait = f'until [ -e "{slow.gate}" ]; do sleep 0.05; done'
    own.write_text(
        f'#!/bin/sh\nif [ -e "{asked}" ]; then touch "{asked}2"; {wait}; fi\ntouch "{asked}"\nexec sbatch "$@"\n'
    )
    own.chmod(0o755)
    scheduler = Scheduler.with_slurm(
        n_workers=2, adaptive=False, submit_command=str(own), log_directory=str(tmp_path), **NEEDS
    )

    def stop() -> None:
        until(Path(f"{asked}2").exists)
        scheduler.stop()

    stopping = threading.Thread(target=stop)
    scheduler.on_start(stopping.start)
    scheduler.run(end_on_empty=False)
    stopping.join()
    assert standin.submitted == ["1"]
    slow.gate.touch()
    until(lambda: standin.submitted == ["1", "2"] and not standin.alive)
    until(lambda: not [each for each in threading.enumerate() if each.name.startswith("amltk")])


def test_a_cancel_command_that_failed_is_tried_again_at_the_end(standin, nothing_is_left, until, tmp_path):
    own, failed = standin.commands / "failing-scancel", tmp_path / "failed"
    own.write_text(f'#!/bin/sh\n[ -e "{failed}" ] && exec scancel "$@"\ntouch "{failed}"\necho busy >&2\nexit 1\n')
    own.chmod(0o755)
    scheduler = Scheduler.with_slurm(n_workers=1, cancel_command=str(own), **NEEDS)
    task = scheduler.task(where)
    scheduler.on_start(task)

    def stop() -> None:
        until(failed.exists, 50)  # the job is given back
        scheduler.stop()

    stopping = threading.Thread(target=stop)
    scheduler.on_start(stopping.start)
    scheduler.run(end_on_empty=False)
    stopping.join()
    assert standin.asked("scancel") == ["scancel 1"]


def test_a_job_that_is_only_cleaned_up_has_ended(standin, nothing_is_left, until, tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(cancelled, "CLEAN_UP_SECONDS", 0.1)
    (standin.home / "epilog").touch()
    scheduler = Scheduler.with_slurm(n_workers=1, **HEARD)
    first, second = scheduler.task(begin_and_wait), scheduler.task(where)
    errors, results = [], []
    begun = tmp_path / "begun"

    @scheduler.on_start
    def go() -> None:
        first(str(begun))
        second()

    first.on_exception(lambda _, error: errors.append(error))
    second.on_result(lambda _, result: results.append(result))

    def cancel() -> None:
        until(lambda: begun.exists() and begun.read_text(), 50)
        standin.end("1")

    cancelling = threading.Thread(target=cancel)
    scheduler.on_start(cancelling.start)
    scheduler.run(on_exception="ignore")
    cancelling.join()
    [error] = errors
    assert isinstance(error, WorkerDied)
    assert "Slurm's job 1 ended as COMPLETING (its nodes are being cleaned up, exit code 0:15)." in str(error)
    assert "the batch system sent SIGTERM" in error.stderr
    assert len(results) == 1
    assert "still there" not in caplog.text


@pytest.mark.parametrize(
    ("line", "words", "ended"),
    [
        ("7:COMPLETING:None:0:03", "COMPLETING", True),
        ("7:COMPLETING:TimeLimit:1-00:00:00", "COMPLETING (TimeLimit)", True),
        ("7:COMPLETING:None:0:00", "COMPLETING", False),  # it goes back into the queue
        ("7:COMPLETING:None", "COMPLETING", False),
        ("7:RUNNING:None:0:03", "RUNNING", False),
        (
            "7:PENDING:ReqNodeNotAvail, UnavailableNodes:node[1-2]:0:00",
            "PENDING (ReqNodeNotAvail, UnavailableNodes:node[1-2])",
            False,
        ),
    ],
)
def test_what_squeue_says_of_jobs_that_end(monkeypatch, line, words, ended):
    monkeypatch.setattr(Commands, "ask", lambda *_: f"{line}\n")
    state = SYSTEM.states(Commands(SYSTEM), ["7"])["7"]
    assert (state.words, state.ended) == (words, ended)


@pytest.mark.parametrize(
    ("accounted", "words"),
    [
        ("CANCELLED by 0\n", "CANCELLED by 0"),
        ("COMPLETING\n", "COMPLETING (its nodes are being cleaned up, exit code 0:15)"),
        (None, "COMPLETING (its nodes are being cleaned up, exit code 0:15)"),
    ],
)
def test_how_a_job_ended_that_is_cleaned_up(monkeypatch, accounted, words):
    def ask(_: Commands, name: str, *__: str) -> str:
        if name == "scontrol":
            return "JobId=7\n   JobState=COMPLETING Reason=None\n   Requeue=0 ExitCode=0:15\n"
        if accounted is None:
            msg = "Slurm accounting storage is disabled"
            raise BatchSystemError(msg)
        return accounted

    monkeypatch.setattr(Commands, "ask", ask)
    assert SYSTEM.ending(Commands(SYSTEM), "7") == words
