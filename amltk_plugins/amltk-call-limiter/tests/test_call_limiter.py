"""What `CallLimiter` lets pass and refuses, and what it tells about that."""

from __future__ import annotations

import threading
from concurrent.futures import Executor, Future

import pytest

from amltk import CallLimiter, ExitState, Requeue, Scheduler, Task, TaskPlugin


def double(x):
    return 2 * x


@pytest.fixture(params=["sequential", "threads"])
def scheduler(request):
    return Scheduler.with_sequential() if request.param == "sequential" else Scheduler.with_threads(2)


def test_at_most_so_many_at_a_time(scheduler):
    task = scheduler.task(double, plugins=CallLimiter(max_concurrent=2))
    accepted = []
    refused = []
    task.on("concurrent-limit-reached", lambda task, x: refused.append((task, x)))
    results = []
    task.on_result(lambda _, result: results.append(result))

    @scheduler.on_start
    def submit_four():
        accepted.extend(task(x) is not None for x in range(4))

    scheduler.run()
    assert accepted == [True, True, False, False]
    assert refused == [(task, 2), (task, 3)]
    assert sorted(results) == [0, 2]
    assert task.event_counts["concurrent-limit-reached"] == 2


def test_refused_calls_can_be_requeued(scheduler):
    task = scheduler.task(double, plugins=CallLimiter(max_concurrent=2))
    items = Requeue(range(10))
    results = []
    most = []

    def submit_next():
        item = next(items, None)
        if item is not None:
            task(item)

    scheduler.on_start(submit_next, repeat=4)
    task.on(CallLimiter.CONCURRENT_LIMIT_REACHED, lambda _, item: items.requeue(item))
    task.on_submitted(lambda *_: most.append(task.n_running))
    task.on_result(lambda _, result: results.append(result))
    task.on_result(lambda *_: submit_next())

    assert scheduler.run().code is ExitState.Code.EXHAUSTED
    assert sorted(results) == [2 * x for x in range(10)]
    assert max(most) == 2


def test_the_limit_of_calls_holds_over_all_runs(scheduler):
    task = scheduler.task(double, plugins=CallLimiter(max_calls=3))
    refused = []
    task.on("call-limit-reached", lambda task, x: refused.append((task, x)))
    results = []
    task.on_result(lambda _, result: results.append(result))

    @scheduler.on_start
    def submit_two():
        task(1)
        task(x=2) if scheduler.event_counts["on_start"] == 1 else task(2)

    scheduler.run()
    assert refused == []
    scheduler.run()
    assert refused == [(task, 2)]
    scheduler.run()
    assert sorted(results) == [2, 2, 4]
    assert task.event_counts["call-limit-reached"] == 3


def test_keywords_reach_the_callback(scheduler):
    task = scheduler.task(double, plugins=CallLimiter(max_calls=1))
    refused = []
    task.on("call-limit-reached", lambda task, *args, **kwargs: refused.append((args, kwargs)))
    scheduler.on_start(lambda: [task(1), task(x=5)])
    scheduler.run()
    assert refused == [((), {"x": 5})]


class Refuses(TaskPlugin):
    """Refuses what `refuse` says, and counts what it is asked."""

    def __init__(self, refuse):
        self.refuse = refuse
        self.asked = []

    def pre_submit(self, function, /, *args, **kwargs):
        self.asked.append(args)
        return None if self.refuse(*args) else (function, args, kwargs)


def test_a_call_that_a_later_plugin_refuses_does_not_count(scheduler):
    odd = Refuses(lambda x: x % 2 == 1)
    task = scheduler.task(double, plugins=[CallLimiter(max_calls=2), odd])
    results = []
    task.on_result(lambda _, result: results.append(result))
    scheduler.on_start(lambda: [task(x) for x in (1, 3, 2, 5, 4, 6, 8)])
    scheduler.run()
    assert sorted(results) == [4, 8]
    assert odd.asked == [(1,), (3,), (2,), (5,), (4,)], "once the limit is reached, later plugins are not asked"


def test_a_limiter_behind_another_plugin_sees_what_that_lets_pass(scheduler):
    odd = Refuses(lambda x: x % 2 == 1)
    task = scheduler.task(double, plugins=[odd, CallLimiter(max_calls=2)])
    refused = []
    task.on("call-limit-reached", lambda _, x: refused.append(x))
    scheduler.on_start(lambda: [task(x) for x in (1, 3, 2, 5, 4, 6, 8)])
    scheduler.run()
    assert refused == [6, 8]
    assert len(odd.asked) == 7


class Chokes(Executor):
    """Raises at the first call, does the others at once."""

    choked = False

    def submit(self, fn, /, *args, **kwargs):
        if not self.choked:
            self.choked = True
            msg = "no room"
            raise RuntimeError(msg)
        future = Future()
        future.set_result(fn(*args, **kwargs))
        return future


def test_a_call_that_the_executor_does_not_take_does_not_count():
    scheduler = Scheduler(Chokes())
    limiter = CallLimiter(max_calls=1, max_concurrent=1)
    task = scheduler.task(double, plugins=limiter)
    results = []
    task.on_result(lambda _, result: results.append(result))

    @scheduler.on_start
    def begin():
        with pytest.raises(RuntimeError, match="no room"):
            task(1)
        assert limiter.calls == 0
        task(2)

    scheduler.run()
    assert results == [4]
    assert limiter.calls == 1


def test_not_while_another_task_is_under_way():
    scheduler = Scheduler.with_threads(3)
    gates = {"fit": threading.Event(), "score": threading.Event()}

    def fit():
        assert gates["fit"].wait(30)

    def score():
        assert gates["score"].wait(30)

    fitting, scoring = scheduler.task(fit), scheduler.task(score)
    task = scheduler.task(double, plugins=CallLimiter(not_while_running=[fitting, scoring]))
    refused = []
    outcome = []

    @task.on("disabled-due-to-running-task")
    def turned_down(task, x):
        refused.append((task, x))

    @scheduler.on_start
    def begin():
        fitting()
        scoring()
        outcome.append(task(1))
        gates["fit"].set()

    @fitting.on_done
    def one_is_left(_):
        outcome.append(task(2))
        gates["score"].set()

    @scoring.on_done
    def none_is_left(_):
        outcome.append(task(3))

    results = []
    task.on_result(lambda _, result: results.append(result))
    scheduler.run()
    assert outcome[:2] == [None, None]
    assert outcome[2] is not None
    assert refused == [(task, 1), (task, 2)]
    assert results == [6]


def test_one_task_need_not_be_in_a_list():
    scheduler = Scheduler.with_sequential()
    first = scheduler.task(double)
    limiter = CallLimiter(not_while_running=first)
    assert limiter.not_while_running == (first,)


def test_the_first_limit_in_the_way_is_told(scheduler):
    other = scheduler.task(double)
    task = scheduler.task(double, plugins=CallLimiter(max_calls=2, max_concurrent=1, not_while_running=other))

    @scheduler.on_start
    def begin():
        task(0)
        other(0)
        task(1)

    @other.on_result
    def again(*_):
        if not task.running():
            task(2)
            task(3)

    @task.on_result(limit=1)
    def when_free(*_):
        if not other.running():
            task(2)
            task(3)

    scheduler.run()
    counts = task.event_counts
    assert counts["concurrent-limit-reached"] == 1
    assert counts["call-limit-reached"] == 1
    assert counts["disabled-due-to-running-task"] == 0


def test_calls_made_while_a_submission_is_told_of_are_limited_too(scheduler):
    """The scheduler's event comes before the task's: what is under way must be counted by then."""
    task = scheduler.task(double, plugins=CallLimiter(max_concurrent=3))
    scheduler.on_future_submitted(lambda _: task(0))
    scheduler.on_start(lambda: task(0))
    most = []
    task.on_submitted(lambda *_: most.append(task.n_running))
    scheduler.run()
    assert max(most) == 3


def test_two_limiters_for_two_tasks_count_apart(scheduler):
    first = scheduler.task(double, plugins=CallLimiter(max_calls=1))
    second = scheduler.task(double, plugins=CallLimiter(max_calls=2))
    scheduler.on_start(lambda: [task(x) for x in range(3) for task in (first, second)])
    scheduler.run()
    assert first.event_counts[Task.SUBMITTED] == 1
    assert second.event_counts[Task.SUBMITTED] == 2


def test_its_repr_shows_limits_and_counts(scheduler):
    other = scheduler.task(double)
    limiter = CallLimiter(max_calls=7, max_concurrent=2, not_while_running=other)
    assert repr(limiter) == "CallLimiter(0 of 7 calls, 0 of 2 concurrent, not while running: double)"
    task = scheduler.task(double, plugins=limiter)
    seen = []

    @scheduler.on_start
    def begin():
        task(1)
        seen.append(repr(limiter))

    scheduler.run()
    assert seen == ["CallLimiter(1 of 7 calls, 1 of 2 concurrent, not while running: double)"]
    assert repr(limiter) == "CallLimiter(1 of 7 calls, 0 of 2 concurrent, not while running: double)"
    assert repr(CallLimiter()) == "CallLimiter(no limits)"


@pytest.mark.parametrize("name", ["max_calls", "max_concurrent"])
@pytest.mark.parametrize(
    ("value", "error"), [(0, ValueError), (-1, ValueError), (1.5, TypeError), (True, TypeError), ("2", TypeError)]
)
def test_a_wrong_limit_is_refused(name, value, error):
    with pytest.raises(error, match=rf"{name} must be an integer of at least 1 or None, got {value!r}"):
        CallLimiter(**{name: value})


@pytest.mark.parametrize("value", [3, "fit", ["fit"], None, [None]])
def test_what_is_no_task_is_refused(value):
    with pytest.raises(TypeError, match="not_while_running must be a Task or several, got"):
        CallLimiter(not_while_running=value)


def test_a_function_in_place_of_its_task_is_refused_with_a_hint():
    with pytest.raises(TypeError, match=r"Pass what scheduler\.task\(function\) returned"):
        CallLimiter(not_while_running=[double])


def test_it_is_found_by_name():
    from amltk.plugins import plugin_manager

    assert plugin_manager().task_plugin("call-limiter") is CallLimiter


def test_a_call_submitted_while_another_one_is_announced_counts():
    scheduler = Scheduler.with_sequential()
    task = scheduler.task(abs, plugins=CallLimiter(max_calls=2))
    scheduler.on_future_submitted(lambda _: task(-2))
    scheduler.on_start(lambda: task(-1))
    scheduler.run()
    assert task.event_counts["on_result"] == 2
    assert task.event_counts["call-limit-reached"] == 1
