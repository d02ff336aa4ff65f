"""`task.map`: calls from iterables, only as many at a time as there is room for."""

from __future__ import annotations

import itertools

import pytest

from amltk import ExitState, Scheduler, TaskPlugin
from amltk.exceptions import SchedulerNotRunningError


def add(x, y=0):
    return x + y


def fail(x):
    raise ValueError(x)


@pytest.fixture
def scheduler(threads):
    return Scheduler(threads)


def results_of(scheduler, task):
    results = []
    task.on_result(lambda _, result: results.append(result))
    return results


def test_every_item_becomes_a_call(scheduler):
    task = scheduler.task(add)
    results = results_of(scheduler, task)
    scheduler.on_start(lambda: task.map(range(100), itertools.count(1000), buffersize=3))
    assert scheduler.run().code is ExitState.Code.EXHAUSTED
    assert sorted(results) == [1000 + 2 * x for x in range(100)]
    assert scheduler.event_counts["on_empty"] == 1


def test_items_are_taken_only_as_calls_end(scheduler):
    task = scheduler.task(add)
    taken, most = [], []

    def items():
        for number in range(50):
            taken.append(number)
            yield number

    task.on_submitted(lambda *_: most.append(task.n_running))
    task.on_done(lambda _: most.append(len(taken) - task.event_counts["on_done"] + 1))
    scheduler.on_start(lambda: task.map(items(), buffersize=4))
    scheduler.run()
    assert len(taken) == 50
    assert max(most) == 4


def test_calls_that_fail_make_room_too(scheduler):
    task = scheduler.task(fail)
    scheduler.on_start(lambda: task.map(range(20), buffersize=2))
    assert scheduler.run(on_exception="ignore").code is ExitState.Code.EXHAUSTED
    assert task.event_counts["on_exception"] == 20


def test_what_is_endless_ends_with_the_run_and_is_closed(scheduler):
    task = scheduler.task(add)
    closed = []

    def endless():
        try:
            yield from itertools.count()
        finally:
            closed.append(True)

    scheduler.on_start(lambda: task.map(endless(), buffersize=2))
    task.on_result(scheduler.stop, every=50)
    assert scheduler.run().code is ExitState.Code.STOPPED
    assert closed == [True]


def test_an_iterable_that_raises_at_once_raises_in_the_caller(scheduler):
    task = scheduler.task(add)

    @scheduler.on_start
    def start():
        with pytest.raises(ZeroDivisionError):
            task.map((1 // x for x in [0]), buffersize=2)

    assert scheduler.run().code is ExitState.Code.EXHAUSTED


def test_an_iterable_that_raises_later_counts_as_a_callback_that_does(scheduler):
    task = scheduler.task(add)
    results = results_of(scheduler, task)
    scheduler.on_start(lambda: task.map((1 // x for x in [1, 1, 1, 0, 1]), buffersize=1))
    with pytest.raises(ZeroDivisionError) as caught:
        scheduler.run()
    assert results == [1, 1, 1]
    assert caught.value.__notes__ == ["Raised by the map of <Task 'add'>."]


def test_an_iterable_that_raises_may_be_ignored(scheduler, caplog):
    task = scheduler.task(add)
    scheduler.on_start(lambda: task.map((1 // x for x in [1, 0, 1]), buffersize=1))
    assert scheduler.run(on_exception="ignore").code is ExitState.Code.EXHAUSTED
    assert "The map of <Task 'add'> raised" in caplog.text


def test_two_tasks_share_the_workers(scheduler):
    tasks = [scheduler.task(add), scheduler.task(add)]
    results = [results_of(scheduler, task) for task in tasks]
    scheduler.on_start(lambda: [task.map(range(30), buffersize=2) for task in tasks])
    scheduler.run()
    assert [sorted(each) for each in results] == [list(range(30))] * 2


class AtMost(TaskPlugin):
    def __init__(self, most, *, ever=False):
        self.most, self.ever, self.refused = most, ever, 0

    def pre_submit(self, function, /, *args, **kwargs):
        if (self.task.n_submitted if self.ever else self.task.n_running) >= self.most:
            self.refused += 1
            return None
        return function, args, kwargs


def test_a_refused_call_is_tried_again_when_another_has_ended(scheduler):
    task = scheduler.task(add, plugins=(limit := AtMost(1)))
    results = results_of(scheduler, task)
    scheduler.on_start(lambda: task.map(range(10), buffersize=3))
    assert scheduler.run().code is ExitState.Code.EXHAUSTED
    assert sorted(results) == list(range(10))
    assert limit.refused > 0


def test_where_every_call_is_refused_the_run_ends(scheduler):
    task = scheduler.task(add, plugins=AtMost(5, ever=True))
    results = results_of(scheduler, task)
    scheduler.on_start(lambda: task.map(itertools.count(), buffersize=3))
    assert scheduler.run().code is ExitState.Code.EXHAUSTED
    assert sorted(results) == list(range(5))


@pytest.mark.parametrize(
    ("iterables", "buffersize", "error", "text"),
    [
        ((), 1, TypeError, "map of <Task 'add'> needs an iterable for each argument"),
        ((5,), 1, TypeError, "int"),
        (([],), 0, ValueError, "buffersize must be an integer of at least 1, got 0"),
        (([],), None, TypeError, "buffersize must be an integer"),
    ],
)
def test_bad_input_is_refused(scheduler, iterables, buffersize, error, text):
    task = scheduler.task(add)

    @scheduler.on_start
    def start():
        with pytest.raises(error, match=text):
            task.map(*iterables, buffersize=buffersize)

    scheduler.run()


def test_nothing_is_taken_when_the_scheduler_does_not_run(scheduler):
    items = iter([1, 2])
    with pytest.raises(SchedulerNotRunningError):
        scheduler.task(add).map(items, buffersize=1)
    assert next(items) == 1
