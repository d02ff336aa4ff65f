"""Workers that give no sign of life: ended and replaced, where asked for; and only those."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from pathlib import Path

import pytest
from calls_for_processes import add, nothing, pid, wait_for
from processes_of_pools import workers

from amltk import Scheduler
from amltk.exceptions import WorkerDied, WorkerLost
from amltk_processes import BrokenProcessPool, ProcessPoolExecutor


def test_a_stopped_worker_is_replaced_its_call_is_lost_and_no_other(tmp_path: Path, until, lives) -> None:
    def note(number: int) -> int:
        with (tmp_path / str(number)).open("a") as file:
            file.write(".")
        return number

    with ProcessPoolExecutor(1, heartbeat_timeout=1) as executor:
        list(executor.map(nothing, range(500)))
        running = executor.submit(wait_for, tmp_path / "gate", "x")
        behind = [executor.submit(note, number) for number in range(30)]
        until((tmp_path / "began-x").exists)
        (worker,) = workers()
        began = time.monotonic()
        worker.suspend()
        error = running.exception()
        assert 0.9 < time.monotonic() - began < 20
        assert isinstance(error, WorkerLost)
        assert isinstance(error, WorkerDied)
        for word in ("wait_for(", "'x'", f"process {worker.pid} on {os.uname().nodename}", "1 s", "Retry"):
            assert word in str(error)
        assert not lives(worker.pid)
        assert [future.result() for future in behind] == list(range(30))
    assert [(tmp_path / str(number)).read_text() for number in range(30)] == ["."] * 30


def test_a_late_result_is_dropped(tmp_path: Path, until) -> None:
    def stop_and_return() -> str:
        (tmp_path / "pid").write_text(str(os.getpid()))
        os.kill(os.getpid(), signal.SIGSTOP)
        return "late"

    with ProcessPoolExecutor(1, heartbeat_timeout=0.5) as executor:
        future = executor.submit(stop_and_return)
        ends: list[object] = []
        future.add_done_callback(ends.append)
        until(future.done)
        assert isinstance(future.exception(), WorkerLost)
        with contextlib.suppress(ProcessLookupError):  # it is gone
            os.kill(int((tmp_path / "pid").read_text()), signal.SIGCONT)
        assert executor.submit(add, 1).result() == 2
        assert ends == [future]


def test_an_idle_stopped_worker_is_replaced_too(until) -> None:
    with ProcessPoolExecutor(1, heartbeat_timeout=0.5) as executor:
        first = executor.submit(pid).result()
        os.kill(first, signal.SIGSTOP)
        until(lambda: not workers())
        assert executor.submit(pid).result() != first


def test_an_initializer_that_stops_breaks_the_pool() -> None:
    with ProcessPoolExecutor(
        1, heartbeat_timeout=0.5, initializer=lambda: os.kill(os.getpid(), signal.SIGSTOP)
    ) as executor:
        error = executor.submit(add, 1).exception()
        assert isinstance(error, BrokenProcessPool)
        assert isinstance(error.__cause__, WorkerLost)


def test_who_only_takes_long_is_left_alone() -> None:
    def compute(seconds: float) -> int:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            sum(range(1000))
        return os.getpid()

    with ProcessPoolExecutor(1, heartbeat_timeout=2) as executor:
        first = executor.submit(compute, 4).result()
        time.sleep(3)  # idle for longer than that
        assert executor.submit(pid).result() == first


def test_nobody_is_lost_because_everything_stood_still(until) -> None:
    def pause(_: object) -> None:  # in the dispatcher's thread: nothing is written, and nothing read
        worker.suspend()
        time.sleep(1.5)
        worker.resume()
        paused.append(True)

    paused: list[bool] = []
    with ProcessPoolExecutor(1, heartbeat_timeout=0.5) as executor:
        first = executor.submit(pid).result()
        (worker,) = workers()
        future = executor.submit(time.sleep, 0.3)
        future.add_done_callback(pause)
        after = executor.submit(time.sleep, 0.3)
        until(lambda: paused)
        assert after.result() is None
        assert executor.submit(pid).result() == first


def test_a_call_that_is_cancelled_when_its_worker_is_lost_ends_once(tmp_path: Path, until) -> None:
    with ProcessPoolExecutor(1, heartbeat_timeout=0.5) as executor:
        running = executor.submit(wait_for, tmp_path / "gate", "x")
        until((tmp_path / "began-x").exists)
        workers()[0].suspend()
        assert running.cancel()
        assert executor.submit(add, 1).result() == 2
        assert running.cancelled()


@pytest.mark.parametrize("wrong", [0, -1, float("inf"), "1", True])
def test_wrong_values_are_refused_when_the_scheduler_is_made(wrong: object) -> None:
    with pytest.raises((TypeError, ValueError), match="heartbeat_timeout must be a number of seconds"):
        Scheduler.with_processes(heartbeat_timeout=wrong)
    with pytest.raises((TypeError, ValueError), match="heartbeat_timeout must be a number of seconds"):
        ProcessPoolExecutor(heartbeat_timeout=wrong)


@pytest.mark.parametrize("seconds", [30 * 24 * 3600, 2e7, 1e9])
def test_a_heartbeat_may_have_any_time(seconds: float) -> None:
    with ProcessPoolExecutor(1, heartbeat_timeout=seconds) as executor:
        assert executor.submit(add, 1).result(timeout=20) == 2
        time.sleep(0.1)  # the thread that gives the signs would tell by now, if it could not sleep so long
        assert executor.submit(add, 2).result(timeout=20) == 3
