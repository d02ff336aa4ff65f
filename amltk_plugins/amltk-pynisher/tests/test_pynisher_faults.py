"""One test for each fault of pynisher 1.0.10 that `amltk_pynisher._call` lists, in the list's order."""

from __future__ import annotations

import multiprocessing
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pynisher
import pytest
from pynisher_calls import (
    OddError,
    UnspeakableError,
    double,
    here,
    ignore_signals,
    in_daemonic_process,
    in_thread,
    limited,
    many_bytes,
    raise_odd,
    raise_unspeakable,
    sleep,
    sleep_in_c,
    spin,
    spin_in_c,
)

from amltk import PynisherPlugin, Scheduler

somewhere = pytest.mark.parametrize("call", [here, in_thread])


@somewhere
@pytest.mark.parametrize("function", [sleep, sleep_in_c, spin, spin_in_c, ignore_signals])
def test_1_a_wall_time_limit_ends_the_call_in_time(call, function):
    def seconds() -> float:
        started = time.monotonic()
        call(limited(double, wall=30), 1)
        begun = time.monotonic()
        with pytest.raises(pynisher.WallTimeoutException, match=rf"{function.__name__} took longer than .* 0\.5 s"):
            call(limited(function, wall=0.5))
        ended = time.monotonic()
        assert ended - begun >= 0.5
        return (ended - begun) - (begun - started)  # without the start of a fresh interpreter, which is not limited

    taken = [seconds()]
    while taken[-1] > 1 and len(taken) < 3:  # the machine may have been busy with something else
        taken.append(seconds())
    assert min(taken) < 1


def test_1_in_processes_too():
    scheduler = Scheduler.with_processes(1)
    task = scheduler.task(ignore_signals, plugins=PynisherPlugin(walltime_limit=1))
    warm = scheduler.task(double)
    begun, taken = [], []

    def begin(*_):
        begun.append(time.monotonic())
        task()

    @task.on_exception
    def ended(*_):
        taken.append(time.monotonic() - begun[-1])
        if taken[-1] > 1.5 and len(taken) < 3:  # the machine may have been busy with something else
            begin()

    warm.on_result(begin, limit=1)  # once the worker is there
    scheduler.on_start(lambda: warm(1))
    scheduler.run(on_exception="ignore")
    assert 1 <= min(taken) < 1.5


def test_2_the_callers_handlers_stay():
    def handlers():
        return {number: signal.getsignal(number) for number in signal.valid_signals()}

    before = handlers()
    limited(double, wall=30)(1)
    with pytest.raises(pynisher.WallTimeoutException):
        limited(sleep, wall=0.1)()
    assert handlers() == before


def test_2_the_caller_ends_by_sigterm():
    script = f"""
import sys, time
sys.path.insert(0, {str(Path(__file__).parent)!r})
from pynisher_calls import double, limited
limited(double, wall=30)(1)
print("ready", flush=True)
time.sleep(60)
"""
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"ready\n"
        process.terminate()
        assert process.wait(10) == -signal.SIGTERM


def test_3_daemonic_processes_can_limit_too():
    context = multiprocessing.get_context("spawn")
    theirs, ours = context.Pipe()
    process = context.Process(target=in_daemonic_process, args=(theirs,), daemon=True)
    process.start()
    assert ours.recv() == 42
    process.join()
    process.close()
    ours.close()
    theirs.close()
    # What multiprocessing keeps running for the next process that is started so.
    multiprocessing.resource_tracker._resource_tracker._stop()


@somewhere
def test_4_an_exception_arrives_as_itself(call):
    with pytest.raises(OddError, match="1 and 2") as caught:
        call(limited(raise_odd, wall=30))
    error = caught.value
    assert error.args == ("1 and 2",)
    assert (error.second, error.third, error.more) == (2, 3, [4])
    assert error.__notes__[0] == "a note"
    assert "Remote traceback" in error.__notes__[-1]
    assert "in raise_odd" in error.__notes__[-1]
    assert isinstance(error.__cause__, KeyError)


@somewhere
def test_4_an_exception_that_cannot_be_described_arrives(call):
    with pytest.raises(UnspeakableError):
        call(limited(raise_unspeakable, wall=30))


@pytest.mark.timeout(240)  # each call starts an interpreter
def test_5_in_threads_no_result_is_lost():
    scheduler = Scheduler.with_threads(4)
    task = scheduler.task(double, plugins=PynisherPlugin(walltime_limit=200))
    results = []
    task.on_result(lambda _, result: results.append(result))
    scheduler.on_start(lambda: [task(x) for x in range(80)])
    scheduler.run(on_exception="raise")
    assert sorted(results) == [2 * x for x in range(80)]


@somewhere
def test_5_no_large_result_is_lost(call):
    assert len(call(limited(many_bytes, wall=30), 50)) == 50 << 20


def test_5_large_results_of_several_threads():
    function = limited(many_bytes, wall=40)
    lengths = []
    threads = [threading.Thread(target=lambda: lengths.append(len(function(10)))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert lengths == [10 << 20] * 4


def test_6_a_result_made_within_the_memory_limit_is_not_lost():
    limit = psutil.Process().memory_info().vms + (60 << 20)
    assert len(limited(many_bytes, memory=limit)(50)) == 50 << 20  # the pickle takes another 50 MB


def test_7_a_wall_time_limit_is_not_rounded():
    started = time.monotonic()
    with pytest.raises(pynisher.WallTimeoutException, match=r"1\.4 s"):
        limited(sleep, wall=(1.4, "s"))()
    assert time.monotonic() - started >= 1.4
