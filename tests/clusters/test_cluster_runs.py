"""Runs on real batch systems: how they begin and end, whatever happens; and plugins in their workers."""

from __future__ import annotations

import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
from batch_systems import SOON, BatchSystem, open_gate

from amltk import CallLimiter, PynisherPlugin, Retry
from amltk.exceptions import BatchSystemError, WorkerDied
from amltk.scheduling import ExitState
from amltk_testing import calls

pytestmark = [pytest.mark.batch_system, pytest.mark.timeout(200), pytest.mark.usefixtures("nothing_is_left")]


def test_the_example_of_the_guide(make) -> None:
    """With queue and walltime where it has these."""
    scheduler = make(n_workers=2, cores=2, memory="1 GB")
    task = scheduler.task(calls.add)
    results = []

    @scheduler.on_start
    def begin() -> None:
        for n in range(20):
            task(n)

    @task.on_result
    def note(_, result: int) -> None:
        results.append(result)

    assert scheduler.run().code is ExitState.Code.EXHAUSTED
    assert sorted(results) == list(range(1, 21))


def test_stop_now_ends_the_jobs(system: BatchSystem, make, job_name: str, tmp_path: Path, meanwhile, until) -> None:
    scheduler = make(2)
    task = scheduler.task(calls.wait_for)
    scheduler.on_start(lambda: [task(tmp_path / "gate", tmp_path / f"began-{n}") for n in range(2)])

    def stop() -> None:
        until(lambda: len(list(tmp_path.glob("began-*"))) == 2, SOON)
        assert len(system.jobs(job_name)) == 2
        scheduler.stop()

    meanwhile(scheduler, stop)
    assert scheduler.run(wait=False, on_exception="ignore").code is ExitState.Code.STOPPED
    until(lambda: system.jobs(job_name) == [])


def test_a_call_whose_job_is_cancelled_runs_again_where_that_is_asked_for(
    system: BatchSystem, make, job_name: str, tmp_path: Path, meanwhile, until
) -> None:
    scheduler = make(1)
    task = scheduler.task(calls.wait_for, plugins=Retry())
    scheduler.on_start(lambda: task(tmp_path / "gate", tmp_path / "began"))
    retried, results = [], []
    task.on_result(lambda _, result: results.append(result))

    @task.on("retrying")
    def note(_, exception: BaseException, *__: object) -> None:
        retried.append(exception)
        open_gate(tmp_path / "gate")

    def cancel() -> None:
        until((tmp_path / "began").exists, SOON)
        [job] = system.jobs(job_name)
        system.cancel_job(job)

    meanwhile(scheduler, cancel)
    scheduler.run()
    assert [type(each) for each in retried] == [WorkerDied]
    assert results == ["done"]


def test_a_job_that_is_out_of_time(system: BatchSystem, make, job_name: str, tmp_path: Path, meanwhile, until) -> None:
    if not system.out_of_time:
        pytest.skip("it has no time limit that one can ask for")
    scheduler = make(1, walltime="00:00:20" if system.name in {"sge", "oar"} else "00:10:00")
    task = scheduler.task(calls.wait_for)
    scheduler.on_start(lambda: task(tmp_path / "gate", tmp_path / "began"))
    errors = []
    task.on_exception(lambda _, error: errors.append(error))

    def shorten() -> None:
        """Slurm counts in minutes."""
        until((tmp_path / "began").exists, SOON)
        if system.name in {"slurm", "pbs"}:
            [job] = system.jobs(job_name)
            subprocess.run(["scontrol", "update", f"JobId={job}", "EndTime=now+1seconds"], check=True)

    meanwhile(scheduler, shorten)
    scheduler.run(on_exception="ignore")
    assert [type(error) for error in errors] == [WorkerDied]
    assert system.out_of_time in str(errors[0])


def test_jobs_that_are_refused(system: BatchSystem, make) -> None:
    scheduler = make(2, **system.wrong)
    scheduler.on_start(lambda: scheduler.submit(calls.add, 1))
    with pytest.raises(BatchSystemError) as info:
        scheduler.run()
    assert system.refusal in str(info.value)
    assert info.value.command.startswith(("sbatch ", "qsub ", "oarsub ", "condor_submit "))
    assert info.value.command.split()[0] in str(info.value)


def test_a_driver_that_is_killed(system: BatchSystem, job_name: str, tmp_path: Path, until) -> None:
    """Its jobs are gone within 30 seconds, although their calls would go on."""
    program = tmp_path / "program.py"
    options = system.options_of(job_name, n_workers=2)
    program.write_text(
        textwrap.dedent(f"""
            from pathlib import Path
            from amltk import Scheduler
            from amltk_testing import calls

            if __name__ == "__main__":
                scheduler = Scheduler.with_{system.name}(**{options!r})
                here = Path({str(tmp_path)!r})
                scheduler.on_start(
                    lambda: [scheduler.submit(calls.wait_for, here / "gate", here / f"began-{{n}}") for n in range(2)]
                )
                scheduler.run()
        """)
    )
    with subprocess.Popen([sys.executable, program.name], cwd=tmp_path) as driver:
        until(lambda: len(list(tmp_path.glob("began-*"))) == 2 or driver.poll() is not None, SOON)
        assert len(system.jobs(job_name)) == 2
        driver.send_signal(signal.SIGKILL)
    killed = time.monotonic()
    until(lambda: system.jobs(job_name) == [], SOON)
    assert time.monotonic() - killed < 30


def test_limits_of_pynisher_hold_in_workers(make) -> None:
    scheduler = make(1)
    slow = scheduler.task(time.sleep, plugins=PynisherPlugin(walltime_limit=1))
    big = scheduler.task(bytearray, plugins=PynisherPlugin(memory_limit=(1, "GB")))
    seen = []
    slow.on("pynisher-walltime-limit", lambda *_: seen.append("slow"))
    big.on("pynisher-memory-limit", lambda *_: seen.append("big"))

    @scheduler.on_start
    def begin() -> None:
        slow(50)
        big(4 * 10**9)

    scheduler.run(on_exception="ignore")
    assert sorted(seen) == ["big", "slow"]


def test_a_call_limiter(make) -> None:
    scheduler = make(2)
    task = scheduler.task(calls.add, plugins=CallLimiter(max_calls=3, max_concurrent=2))
    refused, results = [], []
    task.on("concurrent-limit-reached", lambda _, x: refused.append(x))
    task.on("call-limit-reached", lambda _, x: refused.append(x))

    @scheduler.on_start
    def begin() -> None:
        for n in range(4):
            task(n)

    @task.on_result
    def note(_, result: int) -> None:
        results.append(result)
        task(10 * result)

    scheduler.run()
    assert len(results) == 3
    assert refused[:2] == [2, 3]
