"""The backend `threads`: its options, its runs, and what it can't do."""

from __future__ import annotations

import logging
import subprocess
import sys
import threading
import time
from concurrent.futures.thread import BrokenThreadPool

import pytest

from amltk import ExitState, Scheduler

Code = ExitState.Code


def results_of(scheduler, *calls):
    """Run the calls, and return what comes of each."""
    outcomes = []
    scheduler.on_start(lambda: [scheduler.submit(*call) for call in calls] and None)
    scheduler.on_future_result(lambda _, result: outcomes.append(result))
    scheduler.on_future_exception(lambda _, error: outcomes.append(error))
    assert scheduler.run(on_exception="ignore").code is Code.EXHAUSTED
    return outcomes


# Options


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"max_workers": 0}, ValueError, r"^max_workers must be an integer of at least 1 or None, got 0\."),
        ({"max_workers": -1}, ValueError, r"^max_workers must be .* got -1\."),
        ({"max_workers": "2"}, TypeError, r"^max_workers must be .* got '2' of type str\."),
        ({"max_workers": 2.0}, TypeError, r"^max_workers must be .* got 2\.0 of type float\."),
        ({"max_workers": True}, TypeError, r"^max_workers must be .* got True of type bool\."),
        ({"thread_name_prefix": None}, TypeError, r"^thread_name_prefix must be of type str, got None"),
        ({"initializer": "print"}, TypeError, r"^initializer must be callable, got 'print'"),
        ({"initializer": print, "initargs": "ab"}, TypeError, r"^initargs must be of type tuple, got ... of type str"),
        ({"max_worker": 2}, TypeError, r"no option 'max_worker'\. Did you mean 'max_workers'\?"),
        ({"workers": 2, "x": 3}, TypeError, r"no option 'workers'\."),
    ],
)
def test_a_wrong_option_is_refused_before_anything_starts(options, error, said):
    before = threading.active_count()
    with pytest.raises(error, match=said):
        Scheduler.with_threads(**options)
    assert threading.active_count() == before


def test_only_the_number_of_workers_is_positional():
    with pytest.raises(TypeError, match="too many positional arguments"):
        Scheduler.with_threads(2, "prefix")


def test_options_reach_the_pool():
    local = threading.local()

    def prepare(*values):
        local.values = values

    scheduler = Scheduler.with_threads(1, thread_name_prefix="cook", initializer=prepare, initargs=(1, 2))
    seen = results_of(scheduler, (lambda: (threading.current_thread().name, local.values),))
    assert seen == [("cook_0", (1, 2))]


def test_its_label_tells_its_options():
    assert Scheduler.with_threads(2).executor_label == "with_threads(max_workers=2)"
    assert Scheduler.with_threads().executor_label == "with_threads()"


# Runs


def test_calls_run_at_the_same_time_in_so_many_threads():
    both = threading.Barrier(2, timeout=30)
    assert sorted(results_of(Scheduler.with_threads(max_workers=2), (both.wait,), (both.wait,))) == [0, 1]


def test_no_call_runs_in_the_thread_of_the_run():
    (ident,) = results_of(Scheduler.with_threads(1), (threading.get_ident,))
    assert ident != threading.get_ident()


def test_an_initializer_that_raises_breaks_the_pool_once():
    def fail():
        msg = "no place"
        raise OSError(msg)

    scheduler = Scheduler.with_threads(2, initializer=fail)
    scheduler.on_start(lambda: [scheduler.submit(abs, -1) for _ in range(5)])
    with pytest.raises(BrokenThreadPool, match="no place") as info:
        scheduler.run()
    assert isinstance(info.value.__cause__, OSError)


def test_the_initializer_runs_once_in_each_thread():
    prepared = []
    scheduler = Scheduler.with_threads(1, initializer=prepared.append, initargs=(1,))
    assert results_of(scheduler, (abs, -1), (abs, -2)) == [1, 2]
    assert prepared == [1]


# What it can't do


def test_a_thread_that_cannot_be_stopped_is_named_and_the_run_returns(caplog):
    begun, release, ended = threading.Event(), threading.Event(), threading.Event()

    def endless():
        begun.set()
        release.wait(30)
        ended.set()

    scheduler = Scheduler.with_threads(1)
    task = scheduler.task(endless)
    scheduler.on_start(task)
    scheduler.on_start(lambda: scheduler.call_later(0, stop))

    def stop():
        assert begun.wait(30)
        scheduler.stop()

    try:
        with caplog.at_level(logging.WARNING, "amltk"):
            state = scheduler.run(wait=False)
        assert not ended.is_set()
        assert state.code is Code.STOPPED
        assert task.event_counts["on_cancelled"] == scheduler.event_counts["on_future_cancelled"] == 1
        (warning,) = [record.getMessage() for record in caplog.records]
        assert "endless" in warning
    finally:
        release.set()
        assert ended.wait(30)


def test_the_plugin_does_not_load_what_it_wraps():
    code = "import sys, amltk_threads.plugin; sys.exit('concurrent.futures.thread' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=30)


def test_the_time_of_the_initializer_is_none_of_the_calls():
    ended = []

    def prepare() -> None:
        time.sleep(0.05)
        ended.append(time.time())

    scheduler = Scheduler.with_threads(1, initializer=prepare)
    began = []
    scheduler.on_start(lambda: scheduler.submit(abs, -1))
    scheduler.on_future_result(lambda future, _: began.append(future.execution.started))
    scheduler.run(timeout=60)
    assert began[0] >= ended[0]
