"""The backend `slurm` with commands that are stand-ins; `tests/clusters` has the real ones."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest
from calls_for_slurm import begin_and_exit, begin_and_stand_still, begin_and_wait, wait_for_nanny, where
from rich.console import Console

from amltk import Scheduler
from amltk.exceptions import BatchSystemError, WorkerDied, WorkerLost
from amltk_dask_jobqueue import waiting
from amltk_dask_jobqueue.cluster import import_dask_jobqueue
from amltk_dask_jobqueue.executor import JobQueueExecutor

pytestmark = pytest.mark.thorough

NEEDS = {"cores": 1, "memory": "500 MB", "walltime": "00:10:00"}
# Else dask changes the levels of its handlers; pytest's are among these.
HEARD = {**NEEDS, "silence_logs": False}


@contextlib.contextmanager
def running(scheduler, **options):
    """Run a scheduler in a thread, and stop it if the test fails."""
    errors = []

    def run() -> None:
        try:
            scheduler.run(wait=False, **options)
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    except BaseException:
        scheduler.stop()
        raise
    finally:
        thread.join()
    assert errors == []


def test_the_guides_example_works_and_leaves_nothing(standin, nothing_is_left):
    scheduler = Scheduler.with_slurm(n_workers=2, queue="debug", **NEEDS)
    results = []
    task = scheduler.task(where)
    scheduler.on_start(lambda: [task(n) for n in range(10)])
    task.on_result(lambda _, result: results.append(result))
    scheduler.run()
    assert len(results) == 10
    assert {folder for _, folder in results} == {str(Path.cwd())}, "jobs work where the program does"
    assert standin.submitted
    assert standin.alive == []
    assert list(Path.cwd().iterdir()) == []
    assert "#SBATCH -p debug" in standin.script("1")
    assert "#SBATCH --no-requeue" in standin.script("1")
    assert "--nthreads 1" in standin.script("1")


def test_a_refused_job_ends_the_run_with_the_command_and_its_words(standin, nothing_is_left):
    standin.refuse("sbatch: error: invalid partition specified: nope\n")
    scheduler = Scheduler.with_slurm(n_workers=1, queue="nope", **NEEDS)
    with pytest.raises(
        BatchSystemError, match=r"The command 'sbatch /.*' failed with exit code 1: sbatch: err"
    ) as caught:
        scheduler.run()
    assert caught.value.command.startswith("sbatch ")
    assert caught.value.output == "sbatch: error: invalid partition specified: nope"


def test_without_the_command_nothing_is_started(standin, nothing_is_left, monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    scheduler = Scheduler.with_slurm(n_workers=1, **NEEDS)
    begun = []
    scheduler.on_start(lambda: begun.append(1))
    with pytest.raises(BatchSystemError, match=r"'sbatch' was not found: it is not on PATH \(/nowhere\)\. Run this"):
        scheduler.run()
    assert begun == []


def test_jobs_that_die_before_they_connect_are_replaced_until_it_makes_no_sense(standin, nothing_is_left, caplog):
    scheduler = Scheduler.with_slurm(n_workers=1, python="/nowhere/python", **HEARD)
    scheduler.on_start(lambda: scheduler.submit(where))
    with pytest.raises(
        BatchSystemError, match=r"(?s)Slurm's job 3 ended as FAILED \(exit code 127:0\).*/nowhere/python"
    ):
        scheduler.run()
    assert standin.submitted == ["1", "2", "3"]
    assert "job 1 ended as FAILED" in caplog.text


def test_a_python_without_what_workers_need_is_told_of_at_once(standin, nothing_is_left, tmp_path):
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\nexec {sys.executable} -I -S "$@"\n')
    python.chmod(0o755)
    scheduler = Scheduler.with_slurm(n_workers=1, python=str(python), **NEEDS)
    scheduler.on_start(lambda: scheduler.submit(where))
    here = f"Python {sys.version_info.major}.{sys.version_info.minor}, amltk-core "
    with pytest.raises(BatchSystemError, match=f"job 1 ended as FAILED .* cannot import distributed.*{here}.*python="):
        scheduler.run()
    assert standin.submitted == ["1"]


def test_nothing_stays_open_where_the_executor_fails_to_begin(standin, nothing_is_left, monkeypatch):
    async def fail(_: JobQueueExecutor) -> None:
        msg = "the scheduler does not answer"
        raise OSError(msg)

    monkeypatch.setattr(JobQueueExecutor, "_begin", fail)
    scheduler = Scheduler.with_slurm(n_workers=1, **NEEDS)
    with pytest.raises(OSError, match="does not answer"):
        scheduler.run()
    assert standin.submitted == ["1"]
    assert standin.alive == []
    assert list(Path.cwd().iterdir()) == []


def test_commands_belong_to_one_scheduler(standin, nothing_is_left):
    standin.add("mysbatch", like="sbatch")
    own = standin.add("myscancel", like="scancel")
    schedulers = [
        Scheduler.with_slurm(n_workers=1, submit_command="mysbatch --qos=long", cancel_command=str(own), **NEEDS),
        Scheduler.with_slurm(n_workers=1, **NEEDS),
    ]
    for scheduler in schedulers:
        scheduler.on_start(lambda scheduler=scheduler: scheduler.submit(where))
    with running(schedulers[0]), running(schedulers[1]):
        pass
    lines = standin.asked("sbatch")
    assert sum("--qos=long" in line for line in lines) == 1, lines
    assert len(lines) == 2
    kind = import_dask_jobqueue().SLURMCluster.job_cls
    assert (kind.submit_command, kind.cancel_command) == ("sbatch", "scancel")


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("cancelled", "Slurm's job 1 ended as CANCELLED (somebody cancelled it)"),
        ("timeout", "Slurm's job 1 ended as TIMEOUT (its walltime was over)"),
        ("preempted", "Slurm's job 1 ended as PREEMPTED (other jobs needed its place)"),
    ],
)
def test_a_job_that_is_ended_takes_its_call_alone_and_is_replaced(standin, nothing_is_left, until, tmp_path, how, said):
    scheduler = Scheduler.with_slurm(n_workers=1, **NEEDS)
    errors, results = [], []
    first, second = scheduler.task(begin_and_wait), scheduler.task(where)
    begun = tmp_path / "begun"

    @scheduler.on_start
    def go() -> None:
        first(str(begun))
        second()

    first.on_exception(lambda _, error: errors.append(error))
    second.on_result(lambda _, result: results.append(result))
    with running(scheduler, on_exception="ignore"):
        until(lambda: begun.exists() and begun.read_text(), 50)
        standin.end("1", how)
    (error,) = errors
    assert isinstance(error, WorkerDied)
    assert said in str(error)
    assert "the batch system sent SIGTERM" in error.stderr
    assert len(results) == 1
    assert standin.submitted == ["1", "2"]


def test_a_call_that_ends_its_worker_leaves_the_job_alive(standin, nothing_is_left):
    scheduler = Scheduler.with_slurm(n_workers=1, **NEEDS)
    errors, results = [], []
    before, exits, after = scheduler.task(wait_for_nanny), scheduler.task(begin_and_exit), scheduler.task(where)
    scheduler.on_start(before)

    @before.on_result
    def go(*_: object) -> None:
        exits(3)
        after()

    exits.on_exception(lambda _, error: errors.append(error))
    after.on_result(lambda _, result: results.append(result))
    scheduler.run(on_exception="ignore")
    (error,) = errors
    assert isinstance(error, WorkerDied)
    assert error.exit_code == 3
    assert len(results) == 1
    assert standin.submitted == ["1"]


def test_a_worker_that_stands_still_is_given_up_and_its_job_replaced(standin, nothing_is_left, until, tmp_path):
    begun, late, goes = tmp_path / "begun", tmp_path / "late", tmp_path / "goes"
    cancel = standin.commands / "late-scancel"
    cancel.write_text(f'#!/bin/sh\nuntil [ -e "{goes}" ]; do sleep 0.05; done\nexec scancel "$@"\n')
    cancel.chmod(0o755)
    scheduler = Scheduler.with_slurm(n_workers=1, heartbeat_timeout=2, cancel_command=str(cancel), **NEEDS)
    errors, results = [], []
    first, second = scheduler.task(begin_and_stand_still), scheduler.task(where)

    @scheduler.on_start
    def go() -> None:
        first(str(begun), str(late))
        second()

    first.on_exception(lambda _, error: errors.append(error))
    for task in (first, second):
        task.on_result(lambda _, result: results.append(result))
    with running(scheduler, on_exception="ignore"):
        until(lambda: begun.exists() and begun.read_text(), 50)
        pid = int(begun.read_text())
        until(lambda: errors, 20)
        os.kill(pid, signal.SIGCONT)
        until(late.exists)
        goes.touch()
    (error,) = errors
    assert isinstance(error, WorkerLost)
    assert error.pid == pid
    assert "gave no sign of life for 2 s (heartbeat_timeout)" in str(error)
    ((another, _),) = results
    assert another != pid
    assert standin.submitted == ["1", "2"]
    until(lambda: not standin.processes())


def test_a_job_that_is_given_up_says_so_to_its_other_calls(standin, nothing_is_left, until):
    scheduler = Scheduler.with_slurm(
        n_workers=2, cores=2, memory="1 GB", processes=2, adaptive=False, heartbeat_timeout=2
    )
    errors = []
    begun = [Path.cwd() / f"begun-{n}" for n in range(2)]
    still, others = scheduler.task(begin_and_stand_still), scheduler.task(begin_and_wait)
    scheduler.on_start(lambda: others(str(begun[0])))
    for task in (still, others):
        task.on_exception(lambda _, error: errors.append(error))
    with running(scheduler, on_exception="ignore"):
        until(lambda: begun[0].exists() and begun[0].read_text(), 50)
        scheduler.call_later(0, still, str(begun[1]))
    lost, died = errors
    assert isinstance(lost, WorkerLost)
    assert isinstance(died, WorkerDied)
    assert "Slurm's job 1 is cancelled: process " in str(died)
    for path in begun:
        path.unlink()


def test_jobs_that_wait_are_told_of_and_the_run_can_be_ended(standin, nothing_is_left, until, caplog, monkeypatch):
    monkeypatch.setattr(waiting, "NO_WORKER_SECONDS", 0.5)
    standin.hold("Resources")
    scheduler = Scheduler.with_slurm(n_workers=2, **HEARD)
    cancelled = []
    task = scheduler.task(where)
    scheduler.on_start(task)
    task.on_cancelled(lambda _: cancelled.append(1))
    with running(scheduler):
        until(lambda: "no worker has connected for" in caplog.text)
        scheduler.stop()
    assert "job 1 is PENDING (Resources)" in caplog.text
    assert cancelled == [1]
    assert standin.alive == []


def test_what_will_wait_for_ever_is_told_at_once(standin, nothing_is_left, until, caplog):
    standin.hold("PartitionConfig")
    scheduler = Scheduler.with_slurm(n_workers=1, **HEARD)
    scheduler.on_start(lambda: scheduler.submit(where))
    with running(scheduler):
        until(lambda: "no worker can start as things are: job 1 is PENDING (PartitionConfig)" in caplog.text)
        scheduler.stop()


def test_a_job_that_starts_although_it_is_cancelled_is_sent_away(standin, nothing_is_left, caplog):
    """As those of OAR do that are cancelled a moment before."""
    scheduler = Scheduler.with_slurm(n_workers=1, cancel_command="true", **HEARD)
    scheduler.on_start(scheduler.stop)
    scheduler.run()
    assert standin.submitted == ["1"]
    assert standin.alive == []
    assert "cancelled jobs are still there" not in caplog.text


def test_jobs_are_given_back_when_there_is_no_work_and_come_again(standin, nothing_is_left, until):
    scheduler = Scheduler.with_slurm(n_workers=2, **NEEDS)
    task = scheduler.task(where)
    results = []
    task.on_result(lambda _, result: results.append(result))
    scheduler.on_start(lambda: [task() for _ in range(4)])
    with running(scheduler, end_on_empty=False):
        until(lambda: len(results) == 4, 50)
        until(lambda: not standin.alive)
        scheduler.call_later(0, task)
        until(lambda: len(results) == 5, 50)
        scheduler.stop()
    assert len(standin.submitted) in {2, 3}


def test_a_fixed_number_of_workers_is_kept(standin, nothing_is_left, until):
    scheduler = Scheduler.with_slurm(n_workers=2, adaptive=False, **NEEDS)
    with running(scheduler, end_on_empty=False):
        until(lambda: len(standin.alive) == 2)
        standin.end(standin.alive[0])
        until(lambda: len(standin.alive) == 2)
        scheduler.stop()
    assert standin.submitted == ["1", "2", "3"]


PROGRAM = """
import os, sys, time
from pathlib import Path
from amltk import Scheduler

def work(path):
    import subprocess
    subprocess.Popen(["sleep", "300"])
    Path(path).touch()
    time.sleep(300)

scheduler = Scheduler.with_slurm(n_workers=1, cores=1, memory="500 MB")
scheduler.on_start(lambda: scheduler.submit(work, sys.argv[1]))
scheduler.run()
"""


@pytest.mark.parametrize("reaped", [True, False], ids=["job reaper", "workers alone"])
def test_a_main_process_that_is_killed_takes_its_jobs_with_it(standin, until, tmp_path, reaped):
    (tmp_path / "program.py").write_text(textwrap.dedent(PROGRAM))
    begun = tmp_path / "begun"
    program = subprocess.Popen([sys.executable, tmp_path / "program.py", begun])
    try:
        until(begun.exists, 50)
        if not reaped:
            for process in standin.processes():
                if "job_reaper" in " ".join(process.cmdline()):
                    process.kill()
    finally:
        program.send_signal(signal.SIGKILL)
        program.wait()
    until(lambda: not standin.alive, 30)
    until(lambda: not standin.processes(), 30)
    if reaped:
        assert standin.asked("scancel")
        assert list(Path.cwd().iterdir()) == []
    else:
        assert not standin.asked("scancel")
        for path in Path.cwd().iterdir():  # there was nobody left to do it
            shutil.rmtree(path)


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"n_workers": 0, **NEEDS}, ValueError, "n_workers must be an integer of at least 1, got 0"),
        ({"n_workers": 1, "adaptive": 1, **NEEDS}, TypeError, "adaptive must be True or False, got 1"),
        ({"n_workers": 1, "heartbeat_timeout": 0, **NEEDS}, ValueError, "heartbeat_timeout must be .* got 0"),
        ({"n_workers": 1, "submit_command": " ", **NEEDS}, ValueError, "submit_command must be a command, as 'sb"),
        ({"n_workers": 1, "cores": 4}, ValueError, "with_slurm needs cores and memory of each worker, as in co"),
        ({"n_workers": 1, "core": 4, "memory": "1 GB"}, TypeError, "no option 'core', nor .* Did you mean 'cores'"),
        ({}, TypeError, "missing a required argument: 'n_workers'"),
    ],
)
def test_wrong_options_are_refused_when_the_scheduler_is_made(options, error, said):
    with pytest.raises(error, match=said):
        Scheduler.with_slurm(**options)


def test_logs_stay_where_the_user_wants_them(standin, nothing_is_left, tmp_path):
    scheduler = Scheduler.with_slurm(n_workers=1, log_directory=str(tmp_path / "logs"), **NEEDS)
    scheduler.on_start(lambda: scheduler.submit(where))
    scheduler.run()
    assert [path.name for path in (tmp_path / "logs").iterdir()] == ["dask-worker-1.out"]


def test_several_workers_in_one_job(standin, nothing_is_left):
    scheduler = Scheduler.with_slurm(n_workers=2, cores=2, memory="1 GB", processes=2, adaptive=False)
    results = []
    task = scheduler.task(begin_and_wait)
    scheduler.on_start(lambda: [task(str(Path.cwd() / f"begun-{n}"), 1.0) for n in range(2)])
    task.on_result(lambda _, result: results.append(result))
    scheduler.run()
    assert results == ["done", "done"]
    assert standin.submitted == ["1"]
    for path in Path.cwd().iterdir():
        path.unlink()


def test_the_logger_is_quiet_when_all_is_well(standin, nothing_is_left, caplog):
    scheduler = Scheduler.with_slurm(n_workers=1, **HEARD)
    scheduler.on_start(lambda: scheduler.submit(where))
    scheduler.run()
    ours = [record for record in caplog.records if record.name.startswith("amltk")]
    assert [record for record in ours if record.levelno >= logging.WARNING] == []


def test_ctrl_c_stays_what_it_is(standin):
    """dask-jobqueue sets a handler for SIGINT when it is imported."""
    program = "import signal; from amltk import Scheduler; Scheduler.with_slurm(n_workers=1, cores=1, memory='1 GB')"
    program += "; assert signal.getsignal(signal.SIGINT) is signal.default_int_handler"
    subprocess.run([sys.executable, "-c", program], check=True, timeout=50)


def shown(scheduler) -> str:
    console = Console(file=io.StringIO(), width=100, force_jupyter=False)
    console.print(scheduler)
    return console.file.getvalue()


def test_a_scheduler_shows_its_workers(standin, nothing_is_left, until):
    standin.hold("Resources")
    scheduler = Scheduler.with_slurm(n_workers=2, adaptive=False, **NEEDS)
    assert " workers " not in shown(scheduler)
    with running(scheduler, end_on_empty=False):
        until(lambda: "2 wanted, 2 queued, 0 connected, 0 lost" in shown(scheduler))
        scheduler.stop()


def doctor(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "amltk", "doctor", *words]
    return subprocess.run(command, check=False, capture_output=True, text=True, timeout=50)


OPTIONS = ("-o", "n_workers=1", "-o", "cores=1", "-o", "memory=500 MB")


def test_the_doctor_examines_command_job_and_worker(standin):
    (diagnosis,) = json.loads(doctor("slurm", "--json", *OPTIONS).stdout)
    found = {check["name"]: check for check in diagnosis["checks"]}
    assert [found[name]["status"] for name in ("submit command", "job", "worker", "clean up", "call")] == ["ok"] * 5
    assert found["submit command"]["detail"] == str(standin.commands / "sbatch")
    assert found["job"]["detail"] == "Slurm has accepted job 1"
    assert standin.alive == []


def test_the_doctor_says_why_a_job_is_refused(standin):
    standin.refuse("sbatch: error: invalid partition specified: nope\n")
    (diagnosis,) = json.loads(doctor("slurm", "--json", *OPTIONS).stdout)
    (failed,) = [check for check in diagnosis["checks"] if check["status"] == "failed"]
    assert failed["name"] == "job"
    assert "invalid partition specified: nope" in failed["detail"]


def test_the_doctor_prints_the_job_script_and_starts_nothing(standin):
    done = doctor("slurm", "--job-script", *OPTIONS, "-o", "queue=short")
    assert done.stdout.startswith("#!/usr/bin/env bash\n")
    assert "\n#SBATCH -p short\n" in done.stdout
    assert standin.submitted == []
    assert list(Path.cwd().iterdir()) == []
    for wrong, said in [(("slurm", "--job-script"), "n_workers"), (("threads", "--job-script"), "has no job script")]:
        done = doctor(*wrong)
        assert done.returncode == 2
        assert said in done.stderr


def folder_of_worker() -> tuple[str, int]:
    from distributed import get_worker

    folder = Path(get_worker().local_directory)
    scratch = folder.parent.parent
    return str(folder), scratch.stat().st_mode


@pytest.mark.parametrize("wait", [True, False])
def test_workers_use_no_folder_that_others_have_made(standin, tmp_path, monkeypatch, nothing_is_left, until, wait):
    """dask takes the one that is there, whosever it is, and workers import from it."""
    shared = tmp_path / "shared"
    trap = shared / "dask-scratch-space"
    trap.mkdir(parents=True)
    trap.chmod(0o777)
    monkeypatch.setenv("TMPDIR", str(shared))
    scheduler = Scheduler.with_slurm(n_workers=1, **NEEDS)
    task, found = scheduler.task(folder_of_worker), []
    scheduler.on_start(task)

    @task.on_result
    def note(_future, result):
        found.append(result)
        if not wait:
            scheduler.submit(time.sleep, 100)
            scheduler.stop()

    scheduler.run(wait=wait)
    [(folder, mode)] = found
    assert Path(folder).is_relative_to(shared)
    assert not Path(folder).is_relative_to(trap)
    assert mode & 0o777 == 0o700
    until(lambda: [path.name for path in shared.iterdir() if path.name != "dask-scratch-space"] == [])
