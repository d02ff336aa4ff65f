"""A plugin of a task has a call run again that failed: the call stays one."""

from __future__ import annotations

import gc
import logging
import weakref

import pytest

from amltk import ExitState, Scheduler, TaskPlugin
from amltk_testing import EventRecorder


class Again(TaskPlugin):
    """Runs each call of its task again, `times` times."""

    def __init__(self, times=1, seconds=0.0):
        self.times, self.seconds, self.asked = times, seconds, []

    def retry_after(self, future, error):
        self.asked.append((future, error))
        return self.seconds if len(self.asked) <= self.times else None


def fail_until(attempts, enough):
    attempts.append(len(attempts))
    if len(attempts) < enough:
        msg = f"attempt {len(attempts)}"
        raise ValueError(msg)
    return "done"


@pytest.fixture
def scheduler(threads):
    return Scheduler(threads)


def names(recorder):
    return [event.event for event in recorder.events]


def test_a_call_that_is_run_again_has_the_events_of_one_call(scheduler):
    attempts = []
    task = scheduler.task(fail_until, plugins=(plugin := Again(times=5)))
    futures, results, errors = [], [], []
    task.on_submitted(lambda future, *_: futures.append(future))
    task.on_result(lambda future, result: results.append((future, result)))
    task.on_exception(lambda *args: errors.append(args))
    scheduler.on_start(lambda: task(attempts, 3))
    assert scheduler.run() == ExitState(ExitState.Code.EXHAUSTED)
    assert len(attempts) == 3
    assert results == [(futures[0], "done")]
    assert errors == []
    assert [str(error) for _, error in plugin.asked] == ["attempt 1", "attempt 2"]
    assert (task.n_submitted, task.n_running) == (1, 0)
    assert scheduler.event_counts["on_future_submitted"] == scheduler.event_counts["on_future_done"] == 1
    assert scheduler.event_counts["on_empty"] == 1


def test_the_last_failure_is_the_calls_and_names_the_call(scheduler):
    task = scheduler.task(fail_until, plugins=Again(times=2))
    scheduler.on_start(lambda: task([], enough=9))
    with pytest.raises(ValueError, match="attempt 3") as caught:
        scheduler.run()
    assert caught.value.__notes__ == ["The call: fail_until([0, 1, 2], enough=9)"]


def test_a_call_that_waits_to_run_again_is_under_way(manual):
    scheduler = Scheduler(manual)
    task = scheduler.task(fail_until, plugins=Again(seconds=0.01))
    seen = []

    @scheduler.on_start
    def start():
        future = task([], 1)
        manual.fail(0, OSError("gone"))
        scheduler.call_later(0, look, future)

    def look(future):
        if not scheduler.tasks[0].plugins[0].asked:
            return scheduler.call_later(0, look, future)
        seen.append((task.running(), scheduler.queue == (future,), future.done()))
        return scheduler.call_later(0, proceed)

    def proceed():
        if len(manual.calls) < 2:
            return scheduler.call_later(0, proceed)
        return manual.finish(1)

    assert scheduler.run().code is ExitState.Code.EXHAUSTED
    assert seen == [(True, True, False)]


def test_a_call_that_waits_to_run_again_can_be_cancelled(manual):
    scheduler = Scheduler(manual)
    task = scheduler.task(fail_until, plugins=(plugin := Again(seconds=3600)))
    cancelled = []
    task.on_cancelled(cancelled.append)

    def cancel(future):
        if not plugin.asked:
            scheduler.call_later(0, cancel, future)
        else:
            assert future.cancel()

    @scheduler.on_start
    def start():
        future = task([], 1)
        manual.fail(0, OSError("gone"))
        cancel(future)

    assert scheduler.run().code is ExitState.Code.EXHAUSTED
    assert len(cancelled) == 1
    assert cancelled[0].cancelled()
    assert len(manual.calls) == 1


@pytest.mark.parametrize("wait", [True, False])
def test_a_run_that_ends_does_not_wait_for_what_waits_to_run_again(manual, wait):
    scheduler = Scheduler(manual)
    task = scheduler.task(fail_until, plugins=Again(seconds=3600))
    recorder = EventRecorder(task)
    scheduler.on_start(lambda: (task([], 1), manual.fail(0, OSError("gone"))))
    assert scheduler.run(timeout=0.05, wait=wait).code is ExitState.Code.TIMEOUT
    assert task.event_counts["on_cancelled"] == 1
    assert task.event_counts["on_exception"] == 0
    assert len(manual.calls) == 1
    assert recorder is not None


def test_nothing_is_run_again_while_a_run_ends(manual):
    scheduler = Scheduler(manual)
    task = scheduler.task(fail_until, plugins=(plugin := Again(times=9)))

    @scheduler.on_start
    def start():
        task([], 1)
        manual.start(0)
        scheduler.stop()
        manual.fail(0, OSError("gone"))

    with pytest.raises(OSError, match="gone"):
        scheduler.run()
    assert plugin.asked == []


def test_nothing_is_run_again_once_the_plugin_itself_has_ended_the_run(manual):
    class Stop(TaskPlugin):
        def retry_after(self, future, error):
            self.task.scheduler.stop()
            return 3600

    scheduler = Scheduler(manual)
    task = scheduler.task(fail_until, plugins=Stop())
    scheduler.on_start(lambda: (task([], 1), manual.fail(0, OSError("gone"))))
    with pytest.raises(OSError, match="gone"):
        scheduler.run()


@pytest.mark.parametrize("times", [0, 1], ids=["failed", "ran again"])
def test_a_call_that_failed_is_not_kept_alive_by_circles(scheduler, threads, times):
    class Large:
        pass

    def fail_once(large):
        attempts.append(len(attempts))
        if len(attempts) == 1:
            raise OSError

    attempts, alive = [], []
    task = scheduler.task(fail_once, plugins=Again(times))
    task.plugins[0].asked = _Counted()

    @scheduler.on_start
    def start():
        large = Large()
        alive.append(weakref.ref(large))
        task(large)

    gc.disable()
    try:
        scheduler.run(on_exception="ignore")
        threads.shutdown()  # a worker tells of a call's end before it lets go of the call itself
        assert alive[0]() is None
    finally:
        gc.enable()


class _Counted(list):
    """Counts what it is given, and drops it."""

    def append(self, _):
        super().append(None)


def test_an_executor_that_takes_no_call_again_fails_it(manual):
    scheduler = Scheduler(manual)
    task = scheduler.task(fail_until, plugins=Again())

    @scheduler.on_start
    def start():
        task([], 1)
        manual.fail(0, OSError("gone"))
        manual.shutdown()

    with pytest.raises(RuntimeError, match="shut down"):
        scheduler.run()
    assert task.n_running == 0


def test_the_first_plugin_that_says_yes_decides(scheduler):
    asked = []

    class No(TaskPlugin):
        def retry_after(self, future, error):
            asked.append("no")

    class Yes(TaskPlugin):
        def retry_after(self, future, error):
            asked.append("yes")
            return 0

    class Late(Yes):
        def retry_after(self, future, error):
            asked.append("late")

    attempts = []
    task = scheduler.task(fail_until, plugins=[No(), Yes(), Late()])
    scheduler.on_start(lambda: task(attempts, 3))
    scheduler.run()
    assert asked == ["no", "yes"] * 2


@pytest.mark.parametrize(
    ("answer", "kind", "text"),
    [("soon", TypeError, "what retry_after of Odd returned must be a number"), (-1, ValueError, "got -1")],
)
def test_a_plugin_that_answers_nonsense_is_named(scheduler, answer, kind, text):
    class Odd(TaskPlugin):
        def retry_after(self, future, error):
            return answer

    task = scheduler.task(fail_until, plugins=Odd())
    scheduler.on_start(lambda: task([], 2))
    with pytest.raises(ExceptionGroup) as caught:
        scheduler.run()
    odd, failed = caught.value.exceptions
    assert isinstance(odd, kind)
    assert text in str(odd)
    assert "attempt 1" in str(failed)


def test_a_plugin_that_raises_is_reported_and_the_call_fails(scheduler, caplog):
    class Raises(TaskPlugin):
        def retry_after(self, future, error):
            raise ZeroDivisionError

    task = scheduler.task(fail_until, plugins=Raises())
    scheduler.on_start(lambda: task([], 2))
    with caplog.at_level(logging.ERROR):
        assert scheduler.run(on_exception="ignore").code is ExitState.Code.EXHAUSTED
    assert task.event_counts["on_exception"] == 1
    assert "retry_after of Raises" in caplog.text


@pytest.mark.parametrize("seconds", [30 * 24 * 3600, 1e9])
def test_the_time_until_the_next_attempt_may_be_of_any_length(scheduler, seconds):
    task = scheduler.task(fail_until, plugins=Again(seconds=seconds))
    ends = []
    task.on_cancelled(lambda _: ends.append("cancelled"))
    task.on_exception(lambda *_: ends.append("failed"))
    scheduler.on_start(lambda: task([], 3))
    assert scheduler.run(timeout=0.2).code is ExitState.Code.TIMEOUT
    assert ends == ["cancelled"]
