"""Tasks: their plugins, in the order in which they are asked, and their events."""

from __future__ import annotations

import pytest

from amltk import Event, Scheduler, TaskPlugin
from amltk.exceptions import DuplicateEventError, PluginAttachedError, UnknownEventError


def double(x: int) -> int:
    return 2 * x


class Add(TaskPlugin):
    """Adds a number to the argument, and keeps what it saw."""

    ADDED: Event[[int]] = Event("added", "The argument was changed; callbacks receive (new).")

    def __init__(self, number: int) -> None:
        self.number = number
        self.seen = []

    def pre_submit(self, function, /, *args, **kwargs):
        self.seen.append(args)
        return function, (args[0] + self.number,), kwargs


class Times(Add):
    ADDED = Event("multiplied")

    def pre_submit(self, function, /, *args, **kwargs):
        self.seen.append(args)
        return function, (args[0] * self.number,), kwargs


class Refuse(TaskPlugin):
    REFUSED: Event[...] = Event("refused", "The call was refused; callbacks receive (task, *args, **kwargs).")

    def pre_submit(self, function, /, *args, **kwargs):
        assert self.task is not None
        self.task.emit(self.REFUSED, self.task, *args, **kwargs)


@pytest.fixture
def scheduler(threads) -> Scheduler:
    return Scheduler(executor=threads)


def results_of(scheduler, task, *args):
    results, returned = [], []
    task.on_result(lambda _, result: results.append(result))
    scheduler.on_start(lambda: returned.append(task(*args)))
    scheduler.run()
    return results, returned


def test_plugins_are_asked_in_the_users_order(scheduler):
    add, times = Add(1), Times(10)
    task = scheduler.task(double, plugins=[add, times])
    assert results_of(scheduler, task, 2)[0] == [2 * (2 + 1) * 10]
    assert (add.seen, times.seen) == ([(2,)], [(3,)])


def test_on_submitted_tells_what_the_user_asked_for(scheduler):
    task = scheduler.task(double, plugins=Add(1))
    told = []
    task.on_submitted(lambda _, *args: told.append(args))
    assert results_of(scheduler, task, 2)[0] == [6]
    assert told == [(2,)]


def test_a_refusal_returns_none_and_stops_the_chain(scheduler):
    later = Add(1)
    task = scheduler.task(double, plugins=[Refuse(), later])
    told = []
    task.on("refused", lambda *args, **kwargs: told.append((args, kwargs)))
    assert results_of(scheduler, task, 2) == ([], [None])
    assert told == [((task, 2), {})]
    assert later.seen == []
    assert scheduler.event_counts["on_future_submitted"] == 0


def test_plugins_are_not_asked_when_no_call_can_be_submitted(scheduler):
    add = Add(1)
    task = scheduler.task(double, plugins=add)
    with pytest.raises(RuntimeError, match="not running"):
        task(1)
    assert add.seen == []


def test_a_plugin_may_change_the_function(scheduler):
    class Other(TaskPlugin):
        def pre_submit(self, function, /, *args, **kwargs):
            return str, args, kwargs

    assert results_of(scheduler, scheduler.task(double, plugins=Other()), 2)[0] == ["2"]


@pytest.mark.parametrize("answer", [True, (double,), [double, (), {}]])
def test_a_wrong_answer_of_a_plugin_names_it(scheduler, answer):
    class Clumsy(TaskPlugin):
        def pre_submit(self, function, /, *args, **kwargs):
            return answer

    task = scheduler.task(double, plugins=Clumsy())
    scheduler.on_start(lambda: task(1))
    with pytest.raises(TypeError, match="pre_submit of Clumsy must return"):
        scheduler.run()


def test_a_plugin_belongs_to_one_task(scheduler):
    add = Add(1)
    task = scheduler.task(double, plugins=add)
    assert add.task is task
    with pytest.raises(PluginAttachedError, match=r"Add is attached .* Make a new Add"):
        scheduler.task(double, plugins=add)


def test_attach_task_comes_once_and_can_use_the_task_and_its_events(scheduler):
    class Counting(TaskPlugin):
        COUNTED: Event[[int]] = Event("counted")

        def attach_task(self, task):
            assert self.task is task
            self.calls = 0
            task.on_submitted(self.count)

        def count(self, *_):
            self.calls += 1
            self.task.emit(self.COUNTED, self.calls)

    task = scheduler.task(double, plugins=Counting())
    told = []
    task.on("counted", told.append)
    results_of(scheduler, task, 1)
    assert told == [1]
    assert task.event_counts["counted"] == 1


def test_two_plugins_with_an_event_of_one_name(scheduler):
    with pytest.raises(DuplicateEventError, match="'added'"):
        scheduler.task(double, plugins=[Add(1), Add(2)])


def test_a_task_that_can_not_be_made_leaves_its_plugins_free(scheduler):
    add = Add(1)
    with pytest.raises(DuplicateEventError):
        scheduler.task(double, plugins=[add, Add(2)])
    assert scheduler.task(double, plugins=add).plugins == (add,)


@pytest.mark.parametrize("plugins", [3, Add, "call-limiter", [Add(1), 4], None])
def test_what_is_no_plugin(scheduler, plugins):
    with pytest.raises(TypeError, match="plugins must be a TaskPlugin or several of them, got"):
        scheduler.task(double, plugins=plugins)


def test_an_unknown_event_lists_the_known_ones(scheduler):
    task = scheduler.task(double, plugins=Refuse())
    with pytest.raises(UnknownEventError) as caught:
        task.on("refusd", print)
    text = str(caught.value)
    assert "Did you mean 'refused'?" in text
    assert "on_submitted, on_done, on_result, on_exception, on_cancelled, refused" in text


def test_call_and_submit_are_the_same(scheduler):
    task = scheduler.task(double)
    scheduler.on_start(lambda: task.submit(x=3))
    assert sorted(results_of(scheduler, task, 1)[0]) == [2, 6]


def test_only_calls_of_the_task_reach_its_callbacks(scheduler):
    one, other = scheduler.task(double), scheduler.task(double)
    told = []
    other.on_result(lambda *_: told.append("other"))
    scheduler.on_future_result(lambda *_: told.append("scheduler"))
    results_of(scheduler, one, 1)
    assert told == ["scheduler"]
    assert scheduler.tasks == (one, other)


def test_the_queue_of_a_task(manual):
    scheduler = Scheduler(executor=manual)
    one, other = scheduler.task(double), scheduler.task(double)
    seen = []

    @scheduler.on_start
    def begin():
        futures = [one(1), other(2), one(3)]
        seen.append((one.queue == (futures[0], futures[2]), one.n_running, other.running()))
        for index in range(3):
            manual.finish(index)

    scheduler.run()
    assert seen == [(True, 2, True)]
    assert (one.queue, one.n_running, one.running()) == ((), 0, False)


def test_a_task_has_a_name_whatever_the_function_is(scheduler):
    class Callable:
        def __call__(self):
            return 1

        def __repr__(self):
            return "<a callable>"

    assert scheduler.task(double).name == "double"
    assert scheduler.task(Callable()).name == "<a callable>"
