"""What can go wrong with jobs whatever the batch system is: on Slurm, for all."""

from __future__ import annotations

import os
import subprocess
import uuid
from pathlib import Path

import pytest
from batch_systems import SOON, BatchSystem, open_gate

from amltk import Retry
from amltk.exceptions import WorkerDied
from amltk.testing import calls

pytestmark = [
    pytest.mark.batch_system,
    pytest.mark.timeout(200),
    pytest.mark.usefixtures("nothing_is_left"),
    pytest.mark.parametrize("system", ["slurm"], indirect=True),
]


def submit(partition: str, processors: int, job_name: str) -> None:
    """Submit a job of somebody else, which takes a moment."""
    asked = [f"--partition={partition}", f"--cpus-per-task={processors}", "--mem=100", f"--job-name={job_name}"]
    subprocess.run(["sbatch", *asked, "--output=/dev/null", "--wrap=sleep 1"], check=True, stdout=subprocess.DEVNULL)


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
