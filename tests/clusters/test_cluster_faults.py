"""What can go wrong with jobs: on Slurm, for all, unless systems differ in it."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import time
import uuid
from concurrent.futures import BrokenExecutor
from pathlib import Path

import pytest
from batch_systems import SOON, BatchSystem, open_gate

from amltk import Retry
from amltk.exceptions import BatchSystemError, WorkerDied
from amltk.scheduling import ExitState
from amltk_dask_jobqueue import waiting
from amltk_dask_jobqueue.system import run
from amltk_testing import calls

pytestmark = [pytest.mark.batch_system, pytest.mark.timeout(200), pytest.mark.usefixtures("nothing_is_left")]

on_slurm = pytest.mark.parametrize("system", ["slurm"], indirect=True)


@pytest.fixture
def another_python(tmp_path: Path) -> Path:
    """An environment of another Python, with the modules of this one; what it says of one version is not true."""
    names = [f"python3.{minor}" for minor in (12, 13, 14, 11) if minor != sys.version_info.minor]
    places = [Path(folder, name) for name in names for folder in os.get_exec_path()]
    for python in filter(Path.exists, places):
        command = [python, "-m", "venv", "--without-pip", tmp_path / "environment"]
        if subprocess.run(command, check=False, capture_output=True).returncode == 0:  # else it is one of pyenv's shims
            break
    else:
        lack = f"there is no other Python on PATH: {', '.join(names)}"
        (pytest.fail if "CI" in os.environ else pytest.skip)(lack)
    [packages] = (tmp_path / "environment").glob("lib/python3.*/site-packages")
    (packages / "here.pth").write_text("\n".join(folder for folder in sys.path if "site-packages" in folder))
    other = packages / "cloudpickle-0.0.dist-info"
    other.mkdir()
    (other / "METADATA").write_text("Metadata-Version: 2.1\nName: cloudpickle\nVersion: 0.0\n")
    return tmp_path / "environment" / "bin" / "python"


def submit(partition: str, processors: int, job_name: str) -> None:
    """Submit a job of somebody else, which takes a moment."""
    asked = [f"--partition={partition}", f"--cpus-per-task={processors}", "--mem=100", f"--job-name={job_name}"]
    subprocess.run(["sbatch", *asked, "--output=/dev/null", "--wrap=sleep 1"], check=True, stdout=subprocess.DEVNULL)


@on_slurm
@pytest.mark.parametrize("retried", [False, True], ids=["", "with Retry"])
def test_a_job_that_is_preempted(
    system: BatchSystem, make, job_name: str, tmp_path: Path, meanwhile, until, retried: bool
) -> None:
    scheduler = make(2, queue="spare")

    def work(number: int) -> str:
        (tmp_path / f"began-{number}-{uuid.uuid4().hex}").touch()
        return calls.wait_for(tmp_path / "gate")

    def begun() -> list[str]:
        return sorted(path.name.split("-")[1] for path in tmp_path.glob("began-*"))

    task = scheduler.task(work, plugins=[Retry()] if retried else [])
    scheduler.on_start(lambda: [task(number) for number in range(2)])
    errors, results = [], []
    task.on_result(lambda _, result: results.append(result))

    @task.on("retrying" if retried else "on_exception")
    def note(_, error: BaseException, *__: object) -> None:
        errors.append(error)
        if not retried:
            task(2)

    def preempt() -> None:
        until(lambda: len(begun()) == 2, SOON)
        submit("urgent", 7, job_name)  # there are eight processors, of which ours have two
        until(lambda: len(begun()) == 3, SOON)
        open_gate(tmp_path / "gate")

    meanwhile(scheduler, preempt)
    scheduler.run(on_exception="ignore")
    [error] = errors
    assert type(error) is WorkerDied
    assert "ended as PREEMPTED (other jobs needed its place)" in str(error)
    assert "crash" not in str(error)
    assert results == ["done", "done"]
    assert begun() in ([["0", "0", "1"], ["0", "1", "1"]] if retried else [["0", "1", "2"]])


@on_slurm
def test_a_job_that_is_preempted_and_requeued(
    system: BatchSystem, make, job_name: str, tmp_path: Path, meanwhile, until
) -> None:
    """Where the user asks for that: the same job starts again, and what it ran does not."""
    scheduler = make(1, queue="spare", job_extra_directives=["--requeue"])
    task = scheduler.task(calls.wait_for)
    where = scheduler.task(os.getenv)
    scheduler.on_start(lambda: task(tmp_path / "gate", tmp_path / "began"))
    errors, places = [], []
    where.on_result(lambda _, result: places.append(result))

    @task.on_exception
    def note(_, error: BaseException) -> None:
        errors.append(error)
        where("SLURM_RESTART_COUNT")

    def preempt() -> None:
        until((tmp_path / "began").exists, SOON)
        [job] = system.jobs(job_name)
        submit("urgent", 8, job_name)
        until(lambda: errors, SOON)
        assert job in system.jobs(job_name)
        subprocess.run(["scontrol", "update", f"JobId={job}", "StartTime=now"], check=True)  # not after two minutes

    meanwhile(scheduler, preempt)
    scheduler.run(on_exception="ignore")
    [error] = errors
    assert type(error) is WorkerDied
    assert "Slurm has put its job" in str(error)
    assert "PREEMPTION" in str(error)
    assert places == ["1"]


@pytest.mark.parametrize(
    ("system", "options", "evict", "said"),
    [
        pytest.param(
            "oar",
            {"job_extra_directives": ["-t besteffort"]},
            "oarsub --name={name} --stdout=/dev/null --stderr=/dev/null -l core=8,walltime=0:01:00 'sleep 1'",
            "BESTEFFORT_KILL",
            id="oar",
        ),
        pytest.param("htcondor", {}, "condor_vacate_job {job}", "back into the queue: it ", id="htcondor"),
    ],
    indirect=["system"],
)
def test_a_job_that_is_evicted(
    system: BatchSystem, options, evict: str, said: str, make, job_name: str, tmp_path: Path, meanwhile, until
) -> None:
    """It is replaced, or queued again by the system; the call runs again as it is asked for."""
    scheduler = make(1, **options)

    def work() -> str:
        (tmp_path / f"began-{uuid.uuid4().hex}").touch()
        return calls.wait_for(tmp_path / "gate")

    task = scheduler.task(work, plugins=Retry())
    scheduler.on_start(task)
    errors, results = [], []
    task.on("retrying", lambda _, error, *__: errors.append(error))
    task.on_result(lambda _, result: results.append(result))

    def begun() -> int:
        return len(list(tmp_path.glob("began-*")))

    def end() -> None:
        until(lambda: begun() == 1, SOON)
        [job] = system.jobs(job_name)
        run(shlex.split(evict.format(name=job_name, job=job)))
        until(lambda: begun() == 2, SOON)
        open_gate(tmp_path / "gate")

    meanwhile(scheduler, end)
    scheduler.run()
    assert [type(error) for error in errors] == [WorkerDied]
    assert said in str(errors[0])
    assert results == ["done"]


@on_slurm
def test_a_worker_with_another_python(make, another_python: Path) -> None:
    scheduler = make(1, python=str(another_python))
    scheduler.on_start(lambda: scheduler.submit(calls.add, 1))
    begun = time.monotonic()
    with pytest.raises(BrokenExecutor) as info:
        scheduler.run()
    assert time.monotonic() - begun < SOON
    here = f"{sys.version_info.major}.{sys.version_info.minor}"
    assert re.search(rf"Python: here {re.escape(here)}, there (?!{re.escape(here)})3\.\d+\b", str(info.value))
    assert "cloudpickle: here 3." in str(info.value)
    assert "there 0.0" in str(info.value)


@on_slurm
def test_a_job_that_runs_without_a_worker(
    system: BatchSystem, make, job_name: str, meanwhile, until, caplog: pytest.LogCaptureFixture, monkeypatch
) -> None:
    monkeypatch.setattr(waiting, "NO_WORKER_SECONDS", 3.0)  # not a minute
    scheduler = make(1, job_script_prologue=["echo something else comes first", "sleep 600"], silence_logs=False)
    scheduler.on_start(lambda: scheduler.submit(calls.add, 1))

    def stop() -> None:
        until(lambda: "no worker has connected to tls://" in caplog.text, SOON)
        [job] = system.jobs(job_name)
        assert f"job {job} is RUNNING. The calls wait" in caplog.text
        assert f"The end of the output of job {job}:\nsomething else comes first" in caplog.text
        scheduler.stop()

    meanwhile(scheduler, stop)
    assert scheduler.run(wait=False).code is ExitState.Code.STOPPED


@on_slurm
def test_a_worker_that_cannot_reach_the_program(make, monkeypatch) -> None:
    monkeypatch.setenv("DASK_DISTRIBUTED__COMM__TIMEOUTS__CONNECT", "2s")  # not thirty; jobs have it, too
    scheduler = make(1, scheduler_options={"contact_address": "tls://127.0.0.1:9"})
    scheduler.on_start(lambda: scheduler.submit(calls.add, 1))
    with pytest.raises(BatchSystemError) as info:
        scheduler.run()
    assert "had not connected to tls://127.0.0.1:9." in str(info.value)
    assert "this job ends because the main process is gone, or can't be reached" in str(info.value)
