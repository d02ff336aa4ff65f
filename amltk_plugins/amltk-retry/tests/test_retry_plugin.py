"""What `Retry` runs again, how often and when; what it tells, and what it forgets."""

from __future__ import annotations

import gc
import logging
import weakref
from concurrent.futures import ThreadPoolExecutor

import pytest
import tenacity

from amltk import CallLimiter, ExitState, Retry, Scheduler
from amltk.exceptions import CallTimeoutError, WorkerDied, WorkerLost
from amltk_retry import Attempt
from amltk_testing import EventRecorder, ManualExecutor


def at_once(state):
    return 0


def died(**more):
    return WorkerDied("it is gone", pid=4711, **more)


@pytest.fixture
def threads():
    with ThreadPoolExecutor(2) as executor:
        yield executor


@pytest.fixture
def scheduler(threads):
    return Scheduler(threads)


class Flaky:
    """Raises the given errors, one at each call, and returns then."""

    def __init__(self, *errors):
        self.errors = list(errors)
        self.calls = 0

    def __call__(self, *args):
        self.calls += 1
        if self.errors:
            raise self.errors.pop(0)
        return args


def outcome(scheduler, retry, *errors):
    """Run one call that raises these, one after the other; return how often it was run, and what came of it."""
    function = Flaky(*errors)
    task = scheduler.task(function, plugins=retry)
    ends = []
    task.on_done(lambda future: ends.append(future.exception()))
    scheduler.on_start(task)
    scheduler.run(on_exception="ignore")
    assert len(ends) == 1
    return function.calls, ends[0]


@pytest.mark.parametrize("error", [died(), died(out_of_memory=True), WorkerLost("it did not answer")])
def test_a_call_whose_worker_died_is_run_again(scheduler, error):
    assert outcome(scheduler, Retry(wait=at_once), error) == (2, None)


@pytest.mark.parametrize("kind", [ValueError, MemoryError, OSError, SystemExit])
def test_what_a_function_raises_is_not_run_again_unasked(scheduler, kind):
    calls, error = outcome(scheduler, Retry(wait=at_once), kind("no"))
    assert calls == 1
    assert isinstance(error, kind)


TOO_SLOW = CallTimeoutError("too slow", timeout=1)


@pytest.mark.parametrize(
    ("on", "error", "again"),
    [
        (OSError, ConnectionError("gone"), True),
        (OSError, died(), False),
        ([ValueError, OSError], OSError("gone"), True),
        ((WorkerDied, CallTimeoutError), TOO_SLOW, True),
        (WorkerDied, TOO_SLOW, False),
        (TimeoutError, TOO_SLOW, True),
        (MemoryError, MemoryError("full"), True),
        (MemoryError, died(out_of_memory=True), True),
        (MemoryError, died(), False),
        (Exception, ValueError("no"), True),
        (lambda error: "busy" in str(error), ValueError("busy"), True),
        (lambda error: "busy" in str(error), ValueError("broken"), False),
    ],
)
def test_causes(scheduler, on, error, again):
    assert outcome(scheduler, Retry(on=on, wait=at_once), error) == ((2, None) if again else (1, error))


def test_max_attempts_counts_the_first_one(scheduler):
    errors = [OSError(n) for n in range(9)]
    calls, error = outcome(scheduler, Retry(4, on=OSError, wait=at_once), *errors)
    assert calls == 4
    assert error is errors[3]


def test_a_call_that_kills_workers_is_given_up_however_many_attempts_are_left(scheduler):
    errors = [died(), OSError("busy"), died(), OSError("busy"), OSError("busy")]
    retry = Retry(100, on=(WorkerDied, OSError), max_deaths=2, wait=at_once)
    assert outcome(scheduler, retry, *errors) == (3, errors[2])


def test_events(scheduler):
    task = scheduler.task(Flaky(*(died() for _ in range(3))), plugins=Retry(3, wait=lambda state: 0.001))
    futures, again, given_up = [], [], []
    task.on_submitted(lambda future, *_: futures.append(future))
    task.on(Retry.RETRYING, lambda *args: again.append(args))
    task.on("gave-up", lambda *args: given_up.append(args))
    recorder = EventRecorder(scheduler, task)
    scheduler.on_start(lambda: task("x"))
    scheduler.run(on_exception="ignore")
    assert [(future, type(error), attempt, delay) for future, error, attempt, delay in again] == [
        (futures[0], WorkerDied, 1, 0.001),
        (futures[0], WorkerDied, 2, 0.001),
    ]
    ((future, attempts),) = given_up
    assert future is futures[0]
    assert all(isinstance(each, Attempt) for each in attempts)
    assert [(each.number, each.kind, each.pid) for each in attempts] == [(n, WorkerDied, 4711) for n in (1, 2, 3)]
    assert attempts[0].ended <= attempts[1].ended <= attempts[2].ended
    recorder.assert_order("on_submitted", "retrying", "retrying", "gave-up", "on_done", "on_exception")
    recorder.assert_calls_ended_once()


def test_nothing_is_given_up_that_is_not_run_again_anyhow(scheduler):
    task = scheduler.task(Flaky(died(), ValueError("no")), plugins=Retry(wait=at_once))
    scheduler.on_start(task)
    scheduler.run(on_exception="ignore")
    assert task.event_counts["retrying"] == 1
    assert task.event_counts["gave-up"] == 0


def notes(error):
    return [note for note in getattr(error, "__notes__", ()) if note.startswith("It was tried")]


def test_the_last_error_keeps_its_type_and_gets_the_history(scheduler):
    _, error = outcome(scheduler, Retry(2, wait=at_once), died(), died())
    assert type(error) is WorkerDied
    (note,) = notes(error)
    head, first, second = note.splitlines()
    assert head == "It was tried 2 times:"
    assert first.startswith("  attempt 1, failed 20")
    assert first.endswith(" in process 4711: amltk.exceptions.WorkerDied: it is gone")
    assert second.startswith("  attempt 2, ")


def test_so_does_an_error_of_another_kind(scheduler):
    told = []
    scheduler.on_future_exception(lambda _, error: told.extend(notes(error)))
    _, error = outcome(scheduler, Retry(wait=at_once), died(), ValueError("no"))
    assert notes(error)[0].endswith(": ValueError: no")
    assert told == notes(error), "the scheduler's callbacks, which come first, have it too"


def test_a_call_that_is_run_once_has_no_history(scheduler):
    _, error = outcome(scheduler, Retry(1), died())
    assert notes(error) == []


class Odd(Exception):  # noqa: N818
    def __str__(self):
        raise RuntimeError


@pytest.mark.parametrize("error", [Odd(), ValueError("long " * 10_000), StopIteration("end")])
def test_whatever_the_error_its_history_is_short(scheduler, error):
    _, last = outcome(scheduler, Retry(2, on=Exception, wait=at_once), error, OSError("no"))
    assert type(error).__name__ in notes(last)[0]
    assert len(notes(last)[0]) < 800


def test_nothing_is_run_again_in_silence(scheduler, caplog):
    with caplog.at_level(logging.WARNING, "amltk"):
        outcome(scheduler, Retry(wait=at_once), died())
    (record,) = caplog.records
    assert (
        "failed in attempt 1 of 3 and is run again in 0.0 s: amltk.exceptions.WorkerDied: it is gone" in record.message
    )


# How long it waits


def delays(retry, *errors):
    """What the plugin says after each of these errors of one call, without waiting for it."""
    task = Scheduler(ManualExecutor()).task(max, plugins=retry)
    executor = ManualExecutor()
    scheduler = Scheduler(executor)
    future = []
    scheduler.on_start(lambda: future.append(scheduler.submit(max, 1, 2)) or scheduler.stop())
    scheduler.run(wait=False)
    assert task.plugins == (retry,)
    return [retry.retry_after(future[0], error) for error in errors]


def test_by_default_it_doubles_with_jitter_up_to_a_minute():
    found = delays(Retry(100, on=OSError), *(OSError() for _ in range(12)))
    for number, delay in enumerate(found):
        assert min(60, 2**number) <= delay <= min(60, 2**number + 1)
    assert len({delay % 1 for delay in found[:5]}) > 1


@pytest.mark.parametrize(
    ("wait", "expected"),
    [
        (tenacity.wait_none(), [0, 0, 0]),
        (tenacity.wait_fixed(5) + tenacity.wait_incrementing(start=0, increment=1), [5, 6, 7]),
        (tenacity.wait_chain(tenacity.wait_fixed(1), tenacity.wait_fixed(30)), [1, 30, 30]),
        (tenacity.wait_exponential(multiplier=0.5), [0.5, 1, 2]),
        (lambda state: state.outcome.exception().errno, [1, 2, 3]),
        (lambda state: len(state.args) + len(state.kwargs), [2, 2, 2]),
    ],
)
def test_strategies_of_tenacity(wait, expected):
    assert delays(Retry(9, on=OSError, wait=wait), *(OSError(n, "no") for n in (1, 2, 3))) == expected


@pytest.mark.parametrize(("value", "text"), [(-1, "got -1"), ("soon", "got 'soon'"), (float("nan"), "got nan")])
def test_a_wait_that_returns_nonsense_is_named(scheduler, value, text):
    task = scheduler.task(Flaky(died()), plugins=Retry(wait=lambda state: value))
    scheduler.on_start(task)
    with pytest.raises(ExceptionGroup) as caught:
        scheduler.run()
    nonsense, failure = caught.value.exceptions
    assert "the return value of wait= of Retry must be a number of seconds" in str(nonsense)
    assert text in str(nonsense)
    assert isinstance(failure, WorkerDied)


# Bad arguments


@pytest.mark.parametrize(
    ("options", "kind", "text"),
    [
        ({"max_attempts": 0}, ValueError, "max_attempts must be an integer of at least 1, got 0"),
        ({"max_attempts": 2.5}, TypeError, "max_attempts must be an integer"),
        ({"max_attempts": None}, TypeError, "max_attempts must be an integer"),
        ({"max_deaths": 0}, ValueError, "max_deaths must be an integer of at least 1"),
        ({"wait": 5}, TypeError, r"a wait strategy of tenacity, such as .*wait_fixed\(5\), .* got 5 of type int"),
        ({"wait": tenacity.wait_none}, TypeError, r"got wait_none of type ABCMeta"),
        ({"wait": None}, TypeError, "got None"),
        ({"on": ()}, ValueError, r"got \(\), so nothing would be repeated"),
        ({"on": "OSError"}, TypeError, "on must be an exception class, several, or a function .* got 'OSError'"),
        ({"on": [OSError, int]}, TypeError, "got int of type type"),
        ({"on": OSError("x")}, TypeError, r"Pass its class, OSError\."),
        ({"on": None}, TypeError, "got None"),
    ],
)
def test_bad_arguments_are_refused(options, kind, text):
    with pytest.raises(kind, match=text):
        Retry(**options)


# Ends


def end_while_one_waits(end, **options):
    """Have a call fail whose next attempt is in an hour, and `end` it, or the run."""
    executor = ManualExecutor()
    scheduler = Scheduler(executor)
    task = scheduler.task(max, plugins=Retry(wait=lambda state: 3600))
    scheduler.on_start(lambda: (task(1, 2), executor.fail(0, died())))
    task.on("retrying", lambda future, *_: scheduler.call_later(0, end, scheduler, future))
    scheduler.run(on_exception="ignore", **options)
    assert len(executor.calls) == 1
    assert task.event_counts["on_cancelled"] == 1
    assert task.event_counts["on_done"] == 0
    assert not task.running()
    assert task.plugins[0]._histories == {}


@pytest.mark.parametrize("wait", [True, False])
def test_stop_cancels_a_call_that_waits(wait):
    end_while_one_waits(lambda scheduler, _: scheduler.stop(), wait=wait)


@pytest.mark.parametrize("wait", [True, False])
def test_so_does_a_timeout(wait):
    end_while_one_waits(lambda *_: None, wait=wait, timeout=0.05)


def test_and_so_can_the_user():
    end_while_one_waits(lambda _, future: future.cancel())


def test_stopping_when_told_of_it_lets_the_call_fail_with_its_history():
    executor = ManualExecutor()
    scheduler = Scheduler(executor)
    task = scheduler.task(max, plugins=Retry(wait=at_once))
    scheduler.on_start(lambda: (task(1, 2), executor.fail(0, died())))
    task.on("retrying", scheduler.stop)
    failed = []
    task.on_exception(lambda _, error: failed.append(error))
    assert scheduler.run(on_exception="ignore").code is ExitState.Code.STOPPED
    assert len(failed) == 1
    assert len(executor.calls) == 1


def test_a_failure_while_the_run_ends_has_its_history():
    executor = ManualExecutor()
    scheduler = Scheduler(executor)
    task = scheduler.task(max, plugins=Retry(wait=at_once))
    failed = []
    task.on_exception(lambda _, error: failed.append(error))

    @scheduler.on_start
    def begin():
        task(1, 2)
        executor.fail(0, died())
        scheduler.call_later(0, stop_in_the_second)

    def stop_in_the_second():
        if len(executor.calls) < 2:
            return scheduler.call_later(0, stop_in_the_second)
        executor.start(1)
        scheduler.stop()
        return executor.fail(1, died())

    scheduler.run(on_exception="ignore")
    assert len(executor.calls) == 2
    assert len(notes(failed[0])[0].splitlines()) == 3


# With others


def test_a_call_that_waits_counts_for_the_call_limiter():
    executor = ManualExecutor()
    scheduler = Scheduler(executor)
    task = scheduler.task(max, plugins=[CallLimiter(max_concurrent=1, max_calls=2), Retry(wait=at_once)])
    accepted = []

    @scheduler.on_start
    def begin():
        task(1, 2)
        executor.fail(0, died())

    @task.on("retrying")
    def another(*_):
        accepted.append(task(3, 4))
        scheduler.call_later(0, finish)

    def finish():
        if len(executor.calls) < 2:
            return scheduler.call_later(0, finish)
        return executor.finish(1)

    @task.on_result(limit=1)
    def afterwards(_, result):
        accepted.append(task(5, 6))
        executor.finish(2)

    scheduler.run(timeout=20)
    assert accepted[0] is None
    assert accepted[1] is not None
    assert [call.args for call in executor.calls] == [(1, 2), (1, 2), (5, 6)]


def test_other_plugins_change_a_call_once():
    executor = ManualExecutor()
    scheduler = Scheduler(executor)

    class Twice(CallLimiter):
        def pre_submit(self, function, /, *args, **kwargs):
            return function, (*args, *args), kwargs

    task = scheduler.task(max, plugins=[Twice(), Retry(on=OSError, wait=at_once)])
    scheduler.on_start(lambda: (task(1, 2), executor.fail(0, OSError())))
    task.on("retrying", lambda *_: scheduler.call_later(0, finish))

    def finish():
        return executor.finish(1) if len(executor.calls) > 1 else scheduler.call_later(0, finish)

    scheduler.run(timeout=20)
    assert [call.args for call in executor.calls] == [(1, 2, 1, 2)] * 2


def test_each_call_has_a_history_of_its_own(scheduler):
    attempts = {"a": 0, "b": 0, "c": 0}

    def fail(name):
        attempts[name] += 1
        raise died()

    task = scheduler.task(fail, plugins=Retry(3, wait=at_once))
    lengths = []
    task.on("gave-up", lambda _, attempts: lengths.append(len(attempts)))
    scheduler.on_start(lambda: [task(name) for name in attempts] and None)
    scheduler.run(on_exception="ignore")
    assert attempts == {"a": 3, "b": 3, "c": 3}
    assert lengths == [3, 3, 3]
    scheduler.run(on_exception="ignore")
    assert attempts == {"a": 6, "b": 6, "c": 6}, "a run has nothing of the one before"


class Payload:
    """Can be referred to weakly."""


def test_nothing_is_remembered_of_calls_that_have_ended(scheduler, threads):
    retry = Retry(3, on=OSError, wait=at_once)
    payloads = []
    seen = {}

    def work(number, payload):
        seen[number] = seen.get(number, 0) + 1
        if seen[number] <= number % 5:
            raise OSError(number)

    task = scheduler.task(work, plugins=retry)

    @scheduler.on_start
    def begin():
        for number in range(100):
            payload = Payload()
            payloads.append(weakref.ref(payload))
            task(number, payload)

    gc.disable()  # nothing is left in a circle either, to wait for the collector
    try:
        scheduler.run(on_exception="ignore")
        threads.shutdown()  # a worker tells of a call's end before it lets go of the call itself
        assert [payload for payload in payloads if payload() is not None] == []
    finally:
        gc.enable()
    assert task.event_counts["gave-up"] == 40
    assert task.event_counts["retrying"] == 20 + 2 * 60
    assert repr(retry) == "Retry(3, max_deaths=3, 0 under way)"
    assert retry._histories == {}
