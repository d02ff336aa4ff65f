"""Runs of a scheduler whose calls take place in the very thread of its loop."""

from __future__ import annotations

import os
import signal
import threading
import time

import pytest

from amltk import ExitState, Scheduler

Code = ExitState.Code


@pytest.fixture
def scheduler():
    return Scheduler.with_sequential()


def test_a_timeout_stops_after_the_current_call(scheduler):
    begun = []

    def call(number):
        begun.append(number)
        time.sleep(0.15)

    scheduler.on_start(lambda: [scheduler.submit(call, number) for number in range(5)] and None)
    assert scheduler.run(timeout=0.1).code is Code.TIMEOUT
    assert begun == [0]
    assert scheduler.event_counts["on_future_result"] == 1
    assert scheduler.event_counts["on_future_cancelled"] == 4


def test_stop_from_another_thread_comes_in_after_the_current_call(scheduler):
    begun = []

    def call(number):
        begun.append(number)
        thread = threading.Thread(target=scheduler.stop)
        thread.start()
        thread.join()

    scheduler.on_start(lambda: [scheduler.submit(call, number) for number in range(5)] and None)
    assert scheduler.run().code is Code.STOPPED
    assert begun == [0]


def test_callbacks_come_between_two_calls(scheduler):
    order = []
    task = scheduler.task(lambda number: order.append(f"call {number}") or number)
    task.on_result(lambda _, number: order.append(f"result {number}"))
    scheduler.on_start(lambda: [task(number) for number in range(3)] and None)
    scheduler.run()
    assert order == ["call 0", "result 0", "call 1", "result 1", "call 2", "result 2"]


def test_a_long_chain_is_no_recursion(scheduler):
    task = scheduler.task(lambda number: number + 1)
    task.on_result(lambda _, number: task(number) if number < 3000 else None)
    scheduler.on_start(lambda: task(0))
    scheduler.run()
    assert task.event_counts["on_result"] == 3000


def test_ctrl_c_interrupts_the_call_that_runs(scheduler):
    seen = []
    for event in scheduler.events:
        scheduler.on(event, lambda *_, name=event.name: seen.append(name))

    def call():
        threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGINT)).start()
        time.sleep(50)

    scheduler.on_start(lambda: scheduler.submit(call))
    scheduler.on_start(lambda: scheduler.submit(call))
    with pytest.raises(KeyboardInterrupt):
        scheduler.run()
    assert seen[-5:] == [
        *["on_future_done", "on_future_exception", "on_future_cancelled", "on_finishing", "on_finished"],
    ]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
