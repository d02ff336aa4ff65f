"""`Retry` with workers that really die, run out of memory, or take too long."""

from __future__ import annotations

import os
import signal
import sys
import time
import uuid
from pathlib import Path

import pytest

from amltk import CallLimiter, ExitState, PynisherPlugin, Retry, Scheduler, Timeout
from amltk.exceptions import CallTimeoutError, WorkerDied, WorkerLost
from amltk_testing import EventRecorder

pytestmark = pytest.mark.usefixtures("nothing_is_left")


def at_once(state):
    return 0


def attempts_so_far(folder):
    """Leave a file, and return how many there are."""
    (Path(folder) / uuid.uuid4().hex).touch()
    return len(list(Path(folder).iterdir()))


def die_at_first(folder, times):
    if attempts_so_far(folder) <= times:
        os.kill(os.getpid(), signal.SIGKILL)
    return os.getpid()


def square_unless_poison(x, poison, folder):
    if x == poison:
        attempts_so_far(folder)
        os.kill(os.getpid(), signal.SIGSEGV)
    return x * x


def sleep_at_first(folder, seconds):
    if attempts_so_far(folder) == 1:
        time.sleep(seconds)
    return "quick"


def test_a_call_that_kills_its_worker_twice_succeeds_the_third_time(tmp_path):
    scheduler = Scheduler.with_processes(2)
    task = scheduler.task(die_at_first, plugins=Retry(wait=at_once))
    recorder = EventRecorder(scheduler, task)
    pids, results = [], []
    task.on("retrying", lambda _, error, *__: pids.append(error.pid))
    task.on_result(lambda _, result: results.append(result))
    scheduler.on_start(lambda: task(str(tmp_path), 2))
    assert scheduler.run().code is ExitState.Code.EXHAUSTED
    assert len(results) == 1
    assert len({*pids, *results}) == 3, "each attempt had a worker of its own"
    assert len(list(tmp_path.iterdir())) == 3
    recorder.assert_counts(on_future_submitted=1, on_submitted=1, on_future_done=1, on_result=1, retrying=2)
    recorder.assert_calls_ended_once()


def test_poison_is_given_up_and_harms_no_other_call(tmp_path):
    scheduler = Scheduler.with_processes(2)
    retry = Retry(50, on=Exception, max_deaths=3, wait=at_once)
    task = scheduler.task(square_unless_poison, plugins=retry)
    recorder = EventRecorder(scheduler, task)
    results, errors, given_up = [], [], []
    task.on_result(lambda _, result: results.append(result))
    task.on_exception(lambda _, error: errors.append(error))
    task.on("gave-up", lambda future, attempts: given_up.append((future.args[0], attempts)))
    scheduler.on_start(lambda: [task(x, 100, str(tmp_path)) for x in range(201)] and None)
    scheduler.run(on_exception="ignore")
    assert sorted(results) == [x * x for x in range(201) if x != 100]
    assert len(list(tmp_path.iterdir())) == 3
    ((poison, attempts),) = given_up
    assert poison == 100
    assert len({each.pid for each in attempts}) == 3
    (error,) = errors
    assert type(error) is WorkerDied
    assert error.signal is signal.SIGSEGV
    (note,) = [note for note in error.__notes__ if note.startswith("It was tried 3 times:")]
    assert all(f"in process {each.pid}: " in note and "SIGSEGV" in each.text for each in attempts)
    recorder.assert_calls_ended_once()


def test_the_policy_sees_a_failure_when_it_is_final(tmp_path):
    scheduler = Scheduler.with_processes(1)
    task = scheduler.task(die_at_first, plugins=Retry(2, wait=at_once))
    scheduler.on_start(lambda: task(str(tmp_path), 5))
    with pytest.raises(WorkerDied) as caught:
        scheduler.run()
    assert len(list(tmp_path.iterdir())) == 2
    assert any("attempt 2, " in note for note in caught.value.__notes__)


def test_with_limits_of_pynisher(tmp_path):
    plugins = [
        PynisherPlugin(walltime_limit=1),
        Retry(on=PynisherPlugin.TimeoutException, wait=at_once),
        CallLimiter(max_concurrent=1),
    ]
    scheduler = Scheduler.with_processes(2)
    task = scheduler.task(sleep_at_first, plugins=plugins)
    results, reasons = [], []
    task.on("retrying", lambda _, error, *__: reasons.append(error))
    task.on("retrying", lambda *_: results.append(task(str(tmp_path), 0)))
    task.on_result(lambda _, result: results.append(result))
    scheduler.on_start(lambda: task(str(tmp_path), 60))
    scheduler.run()
    assert results == [None, "quick"], "while it is run again, it counts for the limiter"
    assert [type(reason) for reason in reasons] == [PynisherPlugin.WallTimeoutException]
    assert task.event_counts["pynisher-timeout"] == 0, "it did not fail"


def test_a_call_that_took_too_long_is_run_again_where_that_is_asked_for(tmp_path):
    scheduler = Scheduler.with_processes(1)
    task = scheduler.task(sleep_at_first, plugins=[Timeout(1), Retry(20, on=CallTimeoutError, wait=at_once)])
    results = []
    task.on_result(lambda _, result: results.append(result))
    scheduler.on_start(lambda: task(str(tmp_path), 60))
    scheduler.run()
    assert results == ["quick"]
    assert task.event_counts["retrying"] >= 1, "a machine that is busy may take that long to start a worker, too"
    assert task.event_counts["timed-out"] == 0, "it did not fail"


def test_a_call_whose_worker_is_lost_is_run_again(tmp_path):
    def stand_still_at_first(folder):
        if attempts_so_far(folder) == 1:
            os.kill(os.getpid(), signal.SIGSTOP)
        return "answered"

    scheduler = Scheduler.with_processes(1, heartbeat_timeout=1)
    task = scheduler.task(stand_still_at_first, plugins=Retry(wait=at_once))
    reasons, results = [], []
    task.on("retrying", lambda _, error, *__: reasons.append(type(error)))
    task.on_result(lambda _, result: results.append(result))
    scheduler.on_start(lambda: task(str(tmp_path)))
    scheduler.run()
    assert reasons == [WorkerLost]
    assert results == ["answered"]


@pytest.mark.parametrize("wait", [True, False])
def test_a_run_that_ends_leaves_nothing_of_calls_that_wait(tmp_path, wait):
    scheduler = Scheduler.with_processes(2)
    task = scheduler.task(die_at_first, plugins=Retry(wait=lambda state: 3600))
    recorder = EventRecorder(scheduler, task)
    task.on("retrying", lambda *_: scheduler.call_later(0, scheduler.stop))
    scheduler.on_start(lambda: [task(str(tmp_path), 100) for _ in range(4)] and None)
    assert scheduler.run(wait=wait, on_exception="ignore").code is ExitState.Code.STOPPED
    recorder.assert_calls_ended_once()
    assert task.event_counts["on_cancelled"] >= 1
    assert not task.running()
    assert task.plugins[0]._histories == {}


@pytest.mark.skipif(sys.platform != "linux", reason="RLIMIT_AS is kept there")
def test_lack_of_memory(tmp_path):
    def fill(folder):
        import resource

        if attempts_so_far(folder) == 1:
            before = resource.getrlimit(resource.RLIMIT_AS)
            resource.setrlimit(resource.RLIMIT_AS, (2**30, before[1]))
            try:
                bytearray(2**34)
            finally:
                resource.setrlimit(resource.RLIMIT_AS, before)
        return "enough"

    scheduler = Scheduler.with_processes(1)
    task = scheduler.task(fill, plugins=Retry(on=MemoryError, wait=at_once))
    results = []
    task.on_result(lambda _, result: results.append(result))
    scheduler.on_start(lambda: task(str(tmp_path)))
    scheduler.run()
    assert results == ["enough"]
