"""Runs from start to exit: events and their order, ways to end, exceptions, interrupts."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from concurrent.futures import BrokenExecutor, Future, ThreadPoolExecutor

import pytest

from amltk import ExitState, Scheduler, Task
from amltk.exceptions import SchedulerAlreadyRunningError, SchedulerNotRunningError, WorkerDied, WrongThreadError

Code = ExitState.Code


def double(x: int) -> int:
    return 2 * x


def fail(text: str) -> None:
    raise ValueError(text)


@pytest.fixture
def scheduler(threads) -> Scheduler:
    return Scheduler(executor=threads)


def record(scheduler: Scheduler, task: Task | None = None) -> list[str]:
    """Return a list to which the name of every event of the scheduler, and of the task, is added."""
    seen: list[str] = []
    for emitter in (scheduler, task):
        for event in emitter.events if emitter else ():
            prefix = "task." if emitter is task else ""
            emitter.on(event, lambda *_, name=prefix + event.name: seen.append(name))
    return seen


# Events and their order


def test_every_event_of_a_call_comes_in_order(scheduler):
    task = scheduler.task(double)
    seen = record(scheduler, task)
    scheduler.on_start(lambda: task(2))
    assert scheduler.run() == ExitState(Code.EXHAUSTED)
    assert seen == [
        "on_start",
        "on_future_submitted",
        "task.on_submitted",
        "on_future_done",
        "on_future_result",
        "task.on_done",
        "task.on_result",
        "on_empty",
        "on_finishing",
        "on_finished",
    ]


def test_a_run_with_nothing_to_do_ends(scheduler):
    seen = record(scheduler)
    assert scheduler.run().code is Code.EXHAUSTED
    assert seen == ["on_start", "on_empty", "on_finishing", "on_finished"]


def test_callbacks_receive_what_the_documentation_says(scheduler):
    task = scheduler.task(double)
    told = {}
    task.on_submitted(lambda future, x, **named: told.update(submitted=(future, x, named)))
    task.on_result(lambda future, result: told.update(result=(future, result)))
    scheduler.on_future_result(lambda future, result: told.update(scheduler=(future, result)))
    scheduler.on_start(lambda: task(3))
    scheduler.run()
    future = told["result"][0]
    assert isinstance(future, asyncio.Future)
    assert future.result() == 6
    assert told == {"submitted": (future, 3, {}), "result": (future, 6), "scheduler": (future, 6)}


def test_queues_are_updated_before_events_are_emitted(scheduler):
    task = scheduler.task(double)
    lengths = []
    scheduler.on_future_submitted(lambda _: lengths.append((len(scheduler.queue), len(task.queue))))
    scheduler.on_future_done(lambda _: lengths.append((len(scheduler.queue), task.n_running)))
    scheduler.on_start(lambda: task(1))
    scheduler.run()
    assert lengths == [(1, 1), (0, 0)]


def test_counts_go_on_over_runs_and_can_be_asked_by_name(scheduler):
    scheduler.run()
    scheduler.run()
    assert scheduler.event_counts["on_start"] == 2
    assert scheduler.event_counts[Scheduler.FINISHED] == 2
    assert scheduler.event_counts["on_timeout"] == 0


def test_a_submission_in_on_empty_goes_on(scheduler):
    results = []
    scheduler.on_empty(lambda: scheduler.submit(double, 4), limit=2)
    scheduler.on_future_result(lambda _, result: results.append(result))
    scheduler.run()
    assert results == [8, 8]


def test_keywords_named_like_our_parameters_reach_the_function(scheduler):
    def function(**named):
        return named

    results = []
    named = {"self": 1, "function": 2, "fn": 3, "event": 4, "task": 5, "args": 6, "priority": 7, "timeout": 8}
    task = scheduler.task(function)
    task.on_result(lambda _, result: results.append(result))
    scheduler.on_start(lambda: task(**named))
    scheduler.on_start(lambda: scheduler.submit(function, **named))
    scheduler.on_future_result(lambda _, result: results.append(result))
    scheduler.run()
    assert results == [named] * 3


def test_equal_calls_all_run(scheduler):
    task = scheduler.task(double)
    scheduler.on_start(lambda: task(1), repeat=5)
    scheduler.run()
    assert task.event_counts["on_result"] == 5


def test_reverse_completion(manual):
    scheduler = Scheduler(executor=manual)
    task = scheduler.task(double)
    order = []
    task.on_result(lambda _, result: order.append(result))

    @scheduler.on_start
    def begin():
        for x in range(4):
            task(x)
        for index in reversed(range(4)):
            manual.finish(index)

    scheduler.run()
    assert order == [6, 4, 2, 0]


# Submitting at the wrong time, from the wrong place


def test_submitting_before_the_run(scheduler):
    task = scheduler.task(double)
    seen = record(scheduler, task)
    with pytest.raises(SchedulerNotRunningError, match="on_start"):
        task(1)
    with pytest.raises(SchedulerNotRunningError):
        scheduler.submit(double, 1)
    with pytest.raises(SchedulerNotRunningError):
        scheduler.call_later(0, print)
    assert seen == []


def test_submitting_while_the_run_ends_is_refused_and_is_no_failure(scheduler):
    task = scheduler.task(double)
    task.on_result(lambda *_: task(1))
    refused = []

    @scheduler.on_finishing
    def late():
        try:
            task(1)
        except SchedulerNotRunningError as error:
            refused.append(error)

    scheduler.on_start(lambda: task(1))
    assert scheduler.run(timeout=0.05).code is Code.TIMEOUT
    assert len(refused) == 1


def test_submitting_from_another_thread_is_refused_with_the_way_to_do_it(scheduler):
    errors = []

    @scheduler.on_start
    def begin():
        def elsewhere():
            try:
                scheduler.submit(double, 1)
            except WrongThreadError as error:
                errors.append(str(error))

        thread = threading.Thread(target=elsewhere)
        thread.start()
        thread.join()

    scheduler.run()
    assert "call_later(0, task" in errors[0]
    assert scheduler.event_counts["on_future_submitted"] == 0


def test_call_later_from_another_thread(scheduler):
    task = scheduler.task(double)
    results = []
    task.on_result(lambda _, result: results.append(result))

    @scheduler.on_start
    def begin():
        threading.Thread(
            target=lambda: (scheduler.call_later(0, task, 4), scheduler.call_later(0, scheduler.stop))
        ).start()

    scheduler.run(end_on_empty=False)
    assert results == [8]


def test_a_second_run_while_one_runs(scheduler):
    errors = []

    @scheduler.on_start
    def begin():
        try:
            scheduler.run()
        except SchedulerAlreadyRunningError as error:
            errors.append(error)

    scheduler.run()
    assert len(errors) == 1
    assert not scheduler.running()


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        ({"timeout": -1}, ValueError, "timeout must be a number of seconds, 0 or more or None, got -1"),
        ({"timeout": "1"}, TypeError, "timeout must .* got '1'"),
        ({"timeout": float("nan")}, ValueError, "timeout"),
        ({"wait": 1}, TypeError, "wait must be True or False, got 1"),
        ({"end_on_empty": None}, TypeError, "end_on_empty"),
        ({"display": "yes"}, TypeError, "display"),
        ({"on_exception": "rais"}, ValueError, "on_exception .* got 'rais'. Did you mean 'raise'"),
        ({"on_exception": {"ValueError": "end"}}, TypeError, "on_exception .* got 'ValueError'"),
        ({"on_exception": {ValueError: "stop"}}, ValueError, "on_exception .* got 'stop'"),
        ({"on_exception": 3}, TypeError, "on_exception .* got 3"),
    ],
)
def test_bad_arguments_of_run(scheduler, arguments, error, text):
    with pytest.raises(error, match=text):
        scheduler.run(**arguments)
    assert not scheduler.running()
    assert not scheduler.event_counts
    with pytest.raises(error, match=text):
        asyncio.run(scheduler.async_run(**arguments))
    assert scheduler.run().code is Code.EXHAUSTED


@pytest.mark.parametrize("executor", [None, "threads", ThreadPoolExecutor, 2])
def test_what_is_no_executor(executor):
    with pytest.raises(TypeError, match=r"executor must be a concurrent\.futures\.Executor"):
        Scheduler(executor=executor)


def test_what_is_no_function(scheduler):
    with pytest.raises(TypeError, match="function must be callable, got 3"):
        scheduler.task(3)
    scheduler.on_start(lambda: scheduler.submit(3))
    with pytest.raises(TypeError, match="function must be callable, got 3"):
        scheduler.run()


def test_an_async_function_is_refused_where_a_worker_would_have_to_call_it(scheduler):
    async def function(): ...

    with pytest.raises(TypeError, match="function must be an ordinary function"):
        scheduler.task(function)
    scheduler.on_start(lambda: scheduler.submit(function))
    with pytest.raises(TypeError, match="no event loop"):
        scheduler.run()


def test_a_generator_is_refused_as_a_callback(scheduler):
    def generator():
        yield

    async def async_generator():
        yield

    for function in (generator, async_generator):
        with pytest.raises(TypeError, match=r"callback must be .* 'yield'"):
            scheduler.on_start(function)


def test_an_executor_that_breaks_is_one_error_however_many_calls_it_fails(manual):
    scheduler = Scheduler(executor=manual)
    cause = ValueError("the initializer failed")

    @scheduler.on_start
    def begin():
        for index in range(3):
            scheduler.submit(double, index)
            error = BrokenExecutor("broken")
            error.__cause__ = cause
            manual.start(index).set_exception(error)

    with pytest.raises(BrokenExecutor) as caught:
        scheduler.run()
    assert caught.value.__cause__ is cause


# Ways to end


def test_stop_waits_for_what_runs_and_drops_what_does_not(manual):
    scheduler = Scheduler(executor=manual)
    task = scheduler.task(double)
    seen = record(scheduler, task)

    @scheduler.on_start
    def begin():
        for x in range(3):
            task(x)
        manual.start(0)
        scheduler.stop()
        del seen[:]

    @task.on_cancelled
    def finish(_):
        if task.n_running == 1:
            manual.finish(0)

    assert scheduler.run(timeout=10).code is Code.STOPPED
    assert seen == [
        *["on_future_cancelled", "task.on_cancelled"] * 2,
        *["on_future_done", "on_future_result", "task.on_done", "task.on_result"],
        *["on_finishing", "on_finished"],
    ]


def test_a_call_submitted_just_before_stop_is_taken_up():
    scheduler = Scheduler.with_threads(1)
    scheduler.on_start(lambda: scheduler.submit(double, 1))
    scheduler.on_future_submitted(lambda _: scheduler.stop())
    assert scheduler.run().code is Code.STOPPED
    assert scheduler.event_counts["on_future_result"] == 1


def test_stop_tells_its_callbacks_and_the_exit_state(scheduler):
    told = []
    error = RuntimeError("enough")
    scheduler.on_stop(lambda message, exception: told.append((message, exception)))
    scheduler.on_start(lambda: scheduler.stop(stop_msg="done here", exception=error))
    assert scheduler.run() == ExitState(Code.STOPPED, error)
    assert told == [("done here", error)]


def test_stop_can_itself_be_a_callback(scheduler):
    task = scheduler.task(double)
    task.on_result(scheduler.stop)
    scheduler.on_start(lambda: task(1))
    assert scheduler.run(end_on_empty=False).code is Code.STOPPED


def test_stop_from_another_thread_at_once(scheduler):
    started = threading.Event()
    scheduler.on_start(started.set)

    def stop():
        started.wait()
        scheduler.stop()

    threading.Thread(target=stop).start()
    assert scheduler.run(end_on_empty=False, timeout=30).code is Code.STOPPED


def test_stop_in_a_signal_handler_wakes_the_loop(manual):
    scheduler = Scheduler(executor=manual)
    before = signal.signal(signal.SIGTERM, lambda *_: scheduler.stop())
    press = threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGTERM))
    scheduler.on_start(lambda: scheduler.submit(double, 1) and manual.start() and press.start())
    began = time.monotonic()
    try:
        assert scheduler.run(wait=False, timeout=20).code is Code.STOPPED
    finally:
        signal.signal(signal.SIGTERM, before)
    assert time.monotonic() - began < 15


def test_stop_before_the_loop_has_started_is_not_lost(scheduler, monkeypatch):
    original = scheduler._source.open

    def open_after_a_stop():
        thread = threading.Thread(target=scheduler.stop)
        thread.start()
        thread.join()
        return original()

    object.__setattr__(scheduler._source, "open", open_after_a_stop)
    assert scheduler.run(end_on_empty=False, timeout=30).code is Code.STOPPED


def test_stop_without_a_run_does_nothing(scheduler):
    scheduler.stop()
    assert not scheduler.event_counts


def test_timeout_is_said_and_counted_from_the_start_of_each_run(scheduler):
    for _ in range(2):
        began = time.monotonic()
        assert scheduler.run(timeout=0.1, end_on_empty=False).code is Code.TIMEOUT
        assert time.monotonic() - began >= 0.1
    assert scheduler.event_counts["on_timeout"] == 2


def test_stop_now_names_what_runs_on_and_drops_what_it_returns(threads, caplog):
    scheduler = Scheduler(executor=threads)
    release = threading.Event()
    task = scheduler.task(functools.partial(release.wait, 30))
    seen = record(scheduler, task)
    scheduler.on_start(task, repeat=4)
    assert scheduler.run(timeout=0.1, wait=False).code is Code.TIMEOUT
    assert seen[-2:] == ["on_finishing", "on_finished"]
    assert scheduler.event_counts["on_future_cancelled"] == task.event_counts["on_cancelled"] == 4
    warnings = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
    assert len(warnings) == 1
    assert "2 call(s) run on" in warnings[0]
    assert task.name in warnings[0]
    before = scheduler.event_counts
    release.set()
    threads.submit(double, 1).result(10)
    assert scheduler.event_counts == before


def test_an_executor_of_the_user_is_usable_after_the_run(threads):
    for _ in range(2):
        scheduler = Scheduler(executor=threads)
        scheduler.on_start(lambda scheduler=scheduler: scheduler.submit(double, 1))
        scheduler.run()
        assert threads.submit(double, 5).result(10) == 10


def test_running_again_has_a_fresh_executor_each_time():
    scheduler = Scheduler.with_threads(1)
    task = scheduler.task(threading.get_ident)
    threads_seen = set()
    task.on_result(lambda _, ident: threads_seen.add(threading.current_thread().name))
    scheduler.on_start(task)
    for _ in range(3):
        scheduler.run()
    assert task.event_counts["on_result"] == 3


def test_no_thread_is_left_behind():
    before = set(threading.enumerate())
    scheduler = Scheduler.with_threads(2)
    scheduler.on_start(lambda: scheduler.submit(double, 1))
    scheduler.run()
    assert set(threading.enumerate()) == before


def test_a_call_that_stop_now_kills_is_cancelled_and_not_failed(manual):
    scheduler = Scheduler(executor=manual)
    seen = record(scheduler)
    manual.kill_workers = lambda: manual.calls[0][0].set_exception(WorkerDied("killed"))
    scheduler._source = Scheduler(executor=manual)._source  # made anew, since it looks for kill_workers at once

    @scheduler.on_start
    def begin():
        scheduler.submit(double, 1)
        manual.start()
        scheduler.stop()

    assert scheduler.run(wait=False).code is Code.STOPPED
    assert seen[-3:] == ["on_future_cancelled", "on_finishing", "on_finished"]
    assert scheduler.event_counts["on_future_exception"] == 0


def test_a_worker_that_dies_by_itself_fails_its_call(manual):
    scheduler = Scheduler(executor=manual)

    @scheduler.on_start
    def begin():
        scheduler.submit(double, 1)
        manual.start().set_exception(WorkerDied("died"))

    with pytest.raises(WorkerDied, match="died"):
        scheduler.run()


def test_idle_workers_get_a_moment_to_take_up_a_call_before_stop_cancels_it(manual):
    scheduler = Scheduler(executor=manual)
    taking_up = threading.Timer(0.002, manual.finish)

    @scheduler.on_start
    def begin():
        scheduler.submit(double, 1)
        taking_up.start()
        scheduler.stop()

    scheduler.run()
    taking_up.join()
    assert scheduler.event_counts["on_future_result"] == 1


def test_an_error_while_a_stopped_run_drains_is_its_exit_state(manual):
    scheduler = Scheduler(executor=manual)

    @scheduler.on_start
    def begin():
        scheduler.submit(fail, "late")
        manual.start()
        scheduler.stop(exception=RuntimeError("the reason to stop"))
        manual.finish()

    state = scheduler.run(on_exception="end")
    assert (state.code, str(state.exception)) == (Code.EXCEPTION, "late")


@pytest.mark.parametrize("backend", ["processes", "threads"])
def test_a_second_ctrl_c_breaks_off_a_callback_and_leaves_nothing_behind(backend):
    code = f"""
        import os, psutil, signal, threading, time
        from amltk import Scheduler

        scheduler = Scheduler.with_{backend}(1)
        scheduler.on_start(lambda: scheduler.submit(time.sleep, 0.2 if {backend!r} == "threads" else 60))

        @scheduler.on_start
        def block():
            def press_twice():
                while not ready:
                    time.sleep(0.01)
                os.kill(os.getpid(), signal.SIGINT)
                time.sleep(0.1)
                print("still there", flush=True)
                os.kill(os.getpid(), signal.SIGINT)

            ready = []
            threading.Thread(target=press_twice).start()
            ready.append(True)
            time.sleep(60)

        try:
            scheduler.run()
        except KeyboardInterrupt:
            print("interrupted", psutil.Process().children(recursive=True))
    """
    command = [sys.executable, "-c", textwrap.dedent(code)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert done.stdout.split("\n")[:2] == ["still there", "interrupted []"], done.stderr


# Timers and async callbacks


def test_call_later_keeps_the_run_alive(scheduler):
    told = []
    scheduler.on_start(lambda: scheduler.call_later(0.05, told.append, 1))
    assert scheduler.run().code is Code.EXHAUSTED
    assert told == [1]


def test_a_cancelled_timer_no_longer_keeps_the_run_alive(scheduler):
    @scheduler.on_start
    def begin():
        timer = scheduler.call_later(60, fail, "never")
        scheduler.call_later(0.01, timer.cancel)

    began = time.monotonic()
    assert scheduler.run().code is Code.EXHAUSTED
    assert time.monotonic() - began < 30


def test_call_later_with_an_async_function_and_a_failure(scheduler):
    told = []

    async def tell(x):
        await asyncio.sleep(0)
        told.append(x)

    scheduler.on_start(
        lambda: (scheduler.call_later(0, tell, 1), scheduler.call_later(0.01, fail, "timer"))[0] and None
    )
    with pytest.raises(ValueError, match="timer"):
        scheduler.run()
    assert told == [1]


def test_what_was_to_be_called_later_is_not_called_after_the_end(scheduler):
    told = []

    async def main():
        scheduler.on_start(lambda: scheduler.call_later(0.02, told.append, 1) and scheduler.stop())
        await scheduler.async_run()
        await asyncio.sleep(0.05)

    asyncio.run(main())
    assert told == []


def test_bad_arguments_of_call_later(scheduler):
    errors = []

    @scheduler.on_start
    def begin():
        for arguments in ((-1, print), ("1", print), (0, 3)):
            try:
                scheduler.call_later(*arguments)
            except (TypeError, ValueError) as error:
                errors.append(str(error))

    scheduler.run()
    assert [error.split()[0] for error in errors] == ["delay", "delay", "function"]


def test_async_callbacks_are_awaited(scheduler):
    told = []

    @scheduler.on_start
    async def begin():
        told.append(await scheduler.submit(double, 2))
        await asyncio.sleep(0.02)
        told.append(await scheduler.submit(double, 3))

    @scheduler.on_finished
    async def end():
        await asyncio.sleep(0.02)
        told.append("end")

    scheduler.run()
    assert told == [4, 6, "end"]


def test_an_async_callback_that_fails(scheduler):
    @scheduler.on_start
    async def begin():
        await asyncio.sleep(0)
        fail("async")

    with pytest.raises(ValueError, match="async"):
        scheduler.run()
    assert scheduler.run(on_exception="ignore").code is Code.EXHAUSTED


def test_stop_now_cancels_async_callbacks(scheduler):
    ended = []

    @scheduler.on_start
    async def begin():
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            ended.append(True)
            raise

    assert scheduler.run(timeout=0.05, wait=False).code is Code.TIMEOUT
    assert ended == [True]


def test_an_async_callback_that_does_not_heed_its_cancellation_is_left_behind(scheduler, monkeypatch, caplog):
    monkeypatch.setattr("amltk.scheduling.run.GRACE_SECONDS", 0.05)
    monkeypatch.setattr("amltk.scheduling.loop.GRACE_SECONDS", 0.05)
    let_go = False

    @scheduler.on_start
    async def stubborn():
        while not let_go:
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(0.01)

    async def main():
        nonlocal let_go
        state = await scheduler.async_run(timeout=0.01, wait=False)
        let_go = True
        return state

    assert asyncio.run(main()).code is Code.TIMEOUT
    assert scheduler.event_counts["on_finished"] == 1
    assert "stubborn" in caplog.text


# Cancelling a call


def test_cancelling_a_call_that_waits(manual):
    scheduler = Scheduler(executor=manual)
    task = scheduler.task(double)
    seen = record(scheduler, task)

    @scheduler.on_start
    def begin():
        future = task(1)
        assert future.cancel()
        assert future.cancelled()

    assert scheduler.run().code is Code.EXHAUSTED
    assert seen[3:6] == ["on_future_cancelled", "task.on_cancelled", "on_empty"]


def test_cancelling_a_call_that_runs_on_says_no(manual):
    scheduler = Scheduler(executor=manual)
    results = []
    scheduler.on_future_result(lambda _, result: results.append(result))

    @scheduler.on_start
    def begin():
        future = scheduler.submit(double, 1)
        manual.start()
        assert not future.cancel()
        manual.finish()

    scheduler.run()
    assert results == [2]


# Exceptions


def test_an_exception_of_a_call_is_raised_by_default(scheduler):
    seen = record(scheduler)
    scheduler.on_start(lambda: scheduler.submit(fail, "here"))
    with pytest.raises(ValueError, match="here") as caught:
        scheduler.run()
    assert "fail" in [entry.name for entry in caught.traceback]
    assert seen == [
        *["on_start", "on_future_submitted", "on_future_done", "on_future_exception"],
        *["on_finishing", "on_finished"],
    ]


def test_end_puts_the_exception_into_the_exit_state(scheduler):
    scheduler.on_start(lambda: scheduler.submit(fail, "here"))
    state = scheduler.run(on_exception="end")
    assert state.code is Code.EXCEPTION
    assert isinstance(state.exception, ValueError)


@pytest.mark.parametrize("name", ["ignore", "continue"])
def test_ignore_goes_on(scheduler, name):
    task = scheduler.task(fail)
    told = []
    task.on_exception(lambda _, error: told.append(str(error)))
    scheduler.on_start(lambda: [task(str(x)) for x in range(3)] and None)
    assert scheduler.run(on_exception=name) == ExitState(Code.EXHAUSTED)
    assert sorted(told) == ["0", "1", "2"]


def test_a_mapping_decides_by_the_first_match_and_raises_what_it_does_not_know(scheduler):
    def raise_it(kind):
        raise kind

    kinds = iter([KeyError, IndexError, FileNotFoundError])
    scheduler.on_start(lambda: scheduler.submit(raise_it, next(kinds)))
    policy = {KeyError: "ignore", LookupError: "end", Exception: "raise"}
    assert scheduler.run(on_exception=policy).code is Code.EXHAUSTED
    assert scheduler.run(on_exception=policy).code is Code.EXCEPTION
    with pytest.raises(FileNotFoundError):
        scheduler.run(on_exception={KeyError: "ignore"})


@pytest.mark.parametrize("kind", [StopIteration, SystemExit, asyncio.CancelledError, GeneratorExit])
def test_an_exception_of_whatever_kind_leaves_run_as_itself(scheduler, kind):
    error = kind("itself")

    def raise_it():
        raise error

    with_callback = Scheduler.with_threads(1)
    with_callback.on_start(raise_it)
    scheduler.on_start(lambda: scheduler.submit(raise_it))
    for each in (scheduler, with_callback):
        with pytest.raises(kind, match="itself"):
            each.run()


def test_several_exceptions_come_in_a_group(manual):
    scheduler = Scheduler(executor=manual)

    @scheduler.on_start
    def begin():
        for text in "ab":
            scheduler.submit(fail, text)
            manual.start(-1)
        manual.finish(0)
        manual.finish(1)

    with pytest.raises(ExceptionGroup) as caught:
        scheduler.run()
    assert sorted(map(str, caught.value.exceptions)) == ["a", "b"]


def test_an_exception_while_the_run_drains_is_not_lost(manual):
    scheduler = Scheduler(executor=manual)

    @scheduler.on_start
    def begin():
        scheduler.submit(fail, "late")
        manual.start()
        scheduler.stop()

    scheduler.on_stop(lambda *_: manual.finish())
    with pytest.raises(ValueError, match="late"):
        scheduler.run()


def test_a_raising_callback_leaves_run_and_the_others_are_called(scheduler):
    told = []
    scheduler.on_start(lambda: fail("callback"))
    scheduler.on_start(lambda: told.append(1))
    with pytest.raises(ValueError, match="callback"):
        scheduler.run()
    assert told == [1]
    assert scheduler.event_counts["on_finished"] == 1


def test_a_raising_callback_that_is_ignored_is_logged_by_name(scheduler, caplog):
    def clumsy():
        fail("callback")

    scheduler.on_start(clumsy)
    assert scheduler.run(on_exception="ignore").code is Code.EXHAUSTED
    assert "clumsy" in caplog.text
    assert "on_start" in caplog.text
    assert "ValueError: callback" in caplog.text


@pytest.mark.parametrize("event", ["on_empty", "on_finishing", "on_finished", "on_timeout", "on_stop"])
def test_a_raising_callback_of_any_event_leaves_run_after_on_finished(event):
    scheduler = Scheduler.with_threads(1)
    seen = record(scheduler)
    scheduler.on(event, lambda *_: fail(event))
    if event == "on_stop":
        scheduler.on_start(scheduler.stop)
    with pytest.raises(ValueError, match=event):
        scheduler.run(timeout=0.05 if event == "on_timeout" else None, end_on_empty=event != "on_timeout")
    assert seen[-1] == "on_finished"
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("ThreadPool")]


def test_an_error_in_the_handling_of_an_error_shows_both(scheduler):
    scheduler.on_future_exception(lambda *_: fail("handler"))
    scheduler.on_start(lambda: scheduler.submit(fail, "call"))
    with pytest.raises(ExceptionGroup) as caught:
        scheduler.run()
    assert sorted(map(str, caught.value.exceptions)) == ["call", "handler"]


@pytest.mark.parametrize(
    "kind", [SystemExit, KeyboardInterrupt, asyncio.CancelledError, GeneratorExit, StopIteration, MemoryError]
)
def test_whatever_a_call_raises_is_the_failure_of_that_call(kind):
    def raise_it():
        raise kind

    scheduler = Scheduler.with_threads(1)
    errors, results = [], []
    scheduler.on_future_exception(lambda _, error: errors.append(type(error)))
    scheduler.on_future_result(lambda _, result: results.append(result))
    scheduler.on_start(lambda: scheduler.submit(raise_it))
    scheduler.on_start(lambda: scheduler.submit(double, 1))
    assert scheduler.run(on_exception="ignore").code is Code.EXHAUSTED
    assert (errors, results) == ([kind], [2])
    assert scheduler.event_counts["on_future_cancelled"] == 0


def test_sys_exit_in_a_callback_ends_the_run_in_order(scheduler):
    seen = record(scheduler)

    @scheduler.on_start
    def leave():
        raise SystemExit(3)

    with pytest.raises(SystemExit):
        scheduler.run(on_exception="ignore")
    assert seen[-1] == "on_finished"


def test_an_executor_that_can_not_be_opened_fails_the_run_and_not_the_next():
    scheduler = Scheduler.with_threads(1)
    source = scheduler._source
    original = source.open
    object.__setattr__(source, "open", lambda: fail("no workers"))
    with pytest.raises(ValueError, match="no workers"):
        scheduler.run()
    object.__setattr__(source, "open", original)
    assert scheduler.run().code is Code.EXHAUSTED


def test_a_submit_that_fails_is_the_callers_error(scheduler, threads):
    threads.shutdown()
    scheduler.on_start(lambda: scheduler.submit(double, 1))
    with pytest.raises(RuntimeError, match="shutdown"):
        scheduler.run()
    assert scheduler.event_counts["on_future_submitted"] == 0


def test_a_future_that_is_never_awaited_does_not_complain(scheduler, caplog):
    scheduler.on_start(lambda: scheduler.submit(fail, "quiet") and None)
    scheduler.run(on_exception="ignore")
    assert "never retrieved" not in caplog.text


# The loop, interrupts


def test_async_run_shares_the_loop(threads):
    async def main():
        scheduler = Scheduler(executor=threads)
        ticks = []

        async def tick():
            while True:
                ticks.append(1)
                await asyncio.sleep(0.005)

        ticking = asyncio.create_task(tick())
        scheduler.on_start(lambda: scheduler.submit(time.sleep, 0.1))
        state = await scheduler.async_run()
        assert not ticking.done()
        ticking.cancel()
        return state, len(ticks)

    state, ticks = asyncio.run(main())
    assert state.code is Code.EXHAUSTED
    assert ticks > 2


def test_the_loop_gets_its_turn_while_many_results_are_delivered(manual):
    scheduler = Scheduler(executor=manual)
    order = []

    @scheduler.on_future_result
    def take_long(*_):
        time.sleep(0.005)
        order.append("result")

    @scheduler.on_start
    def begin():
        for index in range(20):
            scheduler.submit(double, index)
            manual.finish(index)
        asyncio.get_running_loop().call_soon(asyncio.get_running_loop().call_later, 0.01, order.append, "timer")

    scheduler.run()
    assert order.count("result") == 20
    assert 0 < order.index("timer") < 20


def test_cancelling_the_task_of_async_run(manual):
    scheduler = Scheduler(executor=manual)
    seen = record(scheduler)

    async def main():
        running = asyncio.create_task(scheduler.async_run())
        scheduler.on_start(lambda: scheduler.submit(double, 1) and manual.start())
        scheduler.on_future_submitted(lambda _: asyncio.get_running_loop().call_soon(running.cancel))
        with pytest.raises(asyncio.CancelledError):
            await running

    asyncio.run(main())
    assert seen[-3:] == ["on_future_cancelled", "on_finishing", "on_finished"]
    assert not scheduler.running()


def test_run_inside_of_a_running_loop(threads):
    async def main():
        scheduler = Scheduler(executor=threads)
        results = []
        scheduler.on_start(lambda: scheduler.submit(double, 21))
        scheduler.on_future_result(lambda _, result: results.append(result))
        state = scheduler.run()
        return state.code, results

    assert asyncio.run(main()) == (Code.EXHAUSTED, [42])


def test_run_leaves_the_threads_event_loop_alone(scheduler):
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    try:
        scheduler.run()
        assert asyncio.get_event_loop() is loop
    finally:
        asyncio.set_event_loop(None)
        loop.close()


@pytest.mark.parametrize("inside_of_a_loop", [False, True])
def test_ctrl_c_ends_the_run_in_order(threads, inside_of_a_loop, caplog):
    scheduler = Scheduler(executor=threads)
    release = threading.Event()
    seen = record(scheduler)
    scheduler.on_start(lambda: scheduler.submit(release.wait, 30))
    # From another thread, so that the loop is asleep when the signal comes.
    press = threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGINT))
    scheduler.on_future_submitted(lambda _: press.start())

    async def main():
        scheduler.run(timeout=20)

    with pytest.raises(KeyboardInterrupt):
        asyncio.run(main()) if inside_of_a_loop else scheduler.run(timeout=20)
    release.set()
    assert seen[-3:] == ["on_future_cancelled", "on_finishing", "on_finished"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert not scheduler.running()


def test_two_schedulers_side_by_side(threads):
    async def main():
        schedulers = [Scheduler(executor=threads) for _ in range(2)]
        results = []
        for number, scheduler in enumerate(schedulers):
            scheduler.on_start(lambda s=scheduler, n=number: s.submit(double, n))
            scheduler.on_future_result(lambda _, result: results.append(result))
        await asyncio.gather(*(scheduler.async_run() for scheduler in schedulers))
        return sorted(results)

    assert asyncio.run(main()) == [0, 2]


def test_results_that_arrive_while_the_run_ends_come_before_on_finished(manual):
    scheduler = Scheduler(executor=manual)
    seen = record(scheduler)
    manual.kill_workers = lambda: manual.finish(0)

    @scheduler.on_start
    def begin():
        scheduler.submit(double, 1)
        manual.start()
        scheduler.stop()

    source = Scheduler(executor=manual)._source
    scheduler._source = source
    scheduler.run(wait=False)
    assert seen[-4:] == ["on_future_done", "on_future_result", "on_finishing", "on_finished"]


def test_a_future_resolved_by_a_thread_after_the_loop_is_gone_is_dropped(manual, caplog):
    scheduler = Scheduler(executor=manual)
    scheduler.on_start(lambda: scheduler.submit(double, 1) and manual.start() and None)
    scheduler.run(timeout=0.01, wait=False)
    future: Future = manual.calls[0][0]
    manual.finish()
    assert future.result() == 2
    assert scheduler.event_counts["on_future_result"] == 0


# Many calls


def test_many_calls_each_end_once():
    scheduler = Scheduler.with_threads(4)
    task = scheduler.task(double)
    results = []
    task.on_result(lambda _, result: results.append(result))
    scheduler.on_start(lambda: [task(x) for x in range(5000)] and None)
    scheduler.run()
    assert sorted(results) == [2 * x for x in range(5000)]
    assert task.n_running == 0


# Callbacks that hold everything up


@pytest.mark.parametrize("how", ["event", "call_later"])
def test_a_callback_that_blocks_is_named_in_a_warning(scheduler, caplog, monkeypatch, how):
    monkeypatch.setattr("amltk.events.handler.BLOCKING_SECONDS", 0.05)

    def dawdle():
        time.sleep(0.1)

    scheduler.on_start(dawdle if how == "event" else lambda: scheduler.call_later(0, dawdle))
    scheduler.on_finished(lambda: None)
    scheduler.run()
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert "dawdle" in record.message
    assert ("'on_start'" if how == "event" else "'call_later'") in record.message
    assert "took 0." in record.message


def test_callbacks_that_are_quick_and_many_are_not_warned_of(scheduler, caplog, monkeypatch):
    monkeypatch.setattr("amltk.events.handler.BLOCKING_SECONDS", 10)
    for _ in range(3):
        scheduler.on_start(lambda: time.sleep(0.01))
    scheduler.run()
    assert caplog.records == []


@pytest.mark.parametrize("seconds", [30 * 24 * 3600, 1e9])
def test_times_may_be_of_any_length(scheduler, seconds):
    results = []
    scheduler.on_future_result(lambda _, result: results.append(result))
    scheduler.on_start(lambda: scheduler.call_later(seconds, print))
    scheduler.on_start(lambda: scheduler.submit(double, 2))
    scheduler.on_future_done(lambda _: scheduler.stop())
    assert scheduler.run(timeout=seconds).code is Code.STOPPED
    assert results == [4]
