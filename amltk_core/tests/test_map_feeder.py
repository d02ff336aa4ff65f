"""`task.map`: calls from iterables, only as many at a time as there is room for."""

from __future__ import annotations

import itertools
import logging

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


class Once(TaskPlugin):
    """Refuses each value that it has let pass before."""

    def __init__(self):
        self.seen = set()

    def pre_submit(self, function, /, *args, **kwargs):
        if args[0] in self.seen:
            return None
        self.seen.add(args[0])
        return function, args, kwargs


class Never(TaskPlugin):
    def pre_submit(self, function, /, *args, **kwargs):
        return None


def warnings_of(caplog):
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


def test_the_map_goes_on_after_an_item_that_is_refused_for_good(scheduler, caplog):
    task = scheduler.task(add, plugins=Once())
    results = results_of(scheduler, task)
    scheduler.on_start(lambda: task.map([3, 4, 3, 5, 6, 7], buffersize=2))
    assert scheduler.run().code is ExitState.Code.EXHAUSTED
    assert sorted(results) == [3, 4, 5, 6, 7]
    (told,) = warnings_of(caplog)
    assert told.startswith("The map of <Task 'add'> leaves out add(3): Once refused it while no call was under way")
    assert scheduler.event_counts["on_empty"] == 1


def test_a_refused_first_item_does_not_end_the_map(scheduler, caplog):
    task = scheduler.task(add, plugins=(once := Once()))
    once.seen.add(0)
    results = results_of(scheduler, task)
    scheduler.on_start(lambda: task.map(range(4), range(4), buffersize=2))
    scheduler.run()
    assert sorted(results) == [2, 4, 6]
    assert "add(0, 0)" in warnings_of(caplog)[0]


def test_only_the_first_of_many_items_that_are_left_out_are_named(scheduler, caplog):
    task = scheduler.task(add, plugins=(once := Once()))
    once.seen.update(range(500))
    results = results_of(scheduler, task)
    scheduler.on_start(lambda: task.map(range(502), buffersize=2))
    assert scheduler.run().code is ExitState.Code.EXHAUSTED
    assert sorted(results) == [500, 501]
    told = warnings_of(caplog)
    assert [f"add({number})" in text for number, text in enumerate(told[:10])] == [True] * 10
    assert told[10:] == ["The map of <Task 'add'> left out 500 items in all, as above; the first 10 are named there."]


def test_what_is_endless_and_always_refused_ends_and_says_so(scheduler, caplog):
    task = scheduler.task(add, plugins=Never())
    scheduler.on_start(lambda: task.map(itertools.count(), buffersize=2))
    assert scheduler.run().code is ExitState.Code.EXHAUSTED
    told = warnings_of(caplog)
    assert len(told) == 11
    assert told[-1] == (
        "The map of <Task 'add'> ends early: 1000 items in a row were refused while no call was under way, the first "
        "10 are named above. The items after them are not tried."
    )


def test_the_loop_takes_its_turns_while_items_are_refused(scheduler):
    task = scheduler.task(add, plugins=Never())
    drawn, drawn_at_stop = [], []

    def items():
        for number in itertools.count():
            drawn.append(number)
            yield number

    def stop():
        drawn_at_stop.append(len(drawn))
        scheduler.stop()

    @scheduler.on_start
    def start():
        scheduler.call_later(0, stop)
        task.map(items(), buffersize=2)

    assert scheduler.run().code is ExitState.Code.STOPPED
    assert len(drawn) - drawn_at_stop[0] <= 1


def test_a_refused_item_waits_for_what_another_task_has_under_way(manual, caplog):
    scheduler = Scheduler(manual)
    other = scheduler.task(add)

    class NotBeside(TaskPlugin):
        def pre_submit(self, function, /, *args, **kwargs):
            return None if other.running() else (function, args, kwargs)

    task = scheduler.task(add, plugins=NotBeside())

    @scheduler.on_start
    def start():
        other(0)
        task.map([1, 2], buffersize=1)
        scheduler.call_later(0, manual.finish, 0)

    task.on_submitted(lambda *_: scheduler.call_later(0, manual.finish, len(manual.calls) - 1))
    assert scheduler.run().code is ExitState.Code.EXHAUSTED
    assert [call.args for call in manual.calls] == [(0,), (1,), (2,)]
    assert not warnings_of(caplog)


def test_a_refused_item_waits_while_a_call_waits_to_be_run_again(scheduler, caplog):
    failed = []

    def flaky(x):
        if not failed:
            failed.append(x)
            raise OSError(x)
        return x

    class Again(TaskPlugin):
        def retry_after(self, future, error):
            return 0.01

    task = scheduler.task(flaky, plugins=(AtMost(1), Again()))
    results = results_of(scheduler, task)
    scheduler.on_start(lambda: task.map(range(5), buffersize=3))
    assert scheduler.run().code is ExitState.Code.EXHAUSTED
    assert results == list(range(5))
    assert not warnings_of(caplog)


def test_two_maps_of_one_task_lose_nothing_beside_a_refused_item(scheduler, caplog):
    task = scheduler.task(add, plugins=Once())
    results = results_of(scheduler, task)

    @scheduler.on_start
    def start():
        task.map([1, 1, 2], buffersize=1)
        task.map([11, 11, 12], buffersize=2)

    assert scheduler.run().code is ExitState.Code.EXHAUSTED
    assert sorted(results) == [1, 2, 11, 12]
    assert len(warnings_of(caplog)) == 2


def test_an_item_that_is_refused_as_the_run_stops_is_no_loss_to_tell_of(scheduler, caplog):
    task = scheduler.task(add, plugins=AtMost(1))
    scheduler.on_start(lambda: task.map(range(10), buffersize=3))
    task.on_result(scheduler.stop)
    assert scheduler.run().code is ExitState.Code.STOPPED
    assert task.event_counts["on_result"] == 1
    assert not warnings_of(caplog)


def test_a_map_that_on_empty_begins_is_not_the_end_of_the_run_when_it_is_refused(scheduler, caplog):
    task = scheduler.task(add, plugins=(once := Once()))
    once.seen.add(0)
    results = results_of(scheduler, task)
    scheduler.on_empty(lambda: task.map(range(3), buffersize=1), limit=1)
    scheduler.on_start(lambda: [task.map([0], buffersize=1) for _ in range(3)])
    assert scheduler.run().code is ExitState.Code.EXHAUSTED
    assert results == [1, 2]
    assert scheduler.event_counts["on_empty"] == 2
    assert len(warnings_of(caplog)) == 4


def test_a_run_without_end_on_empty_goes_on_after_refused_items(scheduler):
    task = scheduler.task(add, plugins=Once())
    results = results_of(scheduler, task)
    scheduler.on_start(lambda: task.map([1, 1, 2], buffersize=1))
    task.on_result(scheduler.stop, when=lambda: len(results) == 2)
    assert scheduler.run(end_on_empty=False, timeout=10).code is ExitState.Code.STOPPED
    assert results == [1, 2]


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
