"""Plugins that refuse, answer and hear of calls: of a task and of a scheduler."""

from __future__ import annotations

import asyncio
import gc
from concurrent.futures import ThreadPoolExecutor

import pytest

from amltk import Answer, CallLimiter, Event, Refusal, Retry, Scheduler, SchedulerPlugin, TaskPlugin
from amltk.backend import CallOptions
from amltk.exceptions import (
    DuplicateEventError,
    NotSupportedError,
    PluginAttachedError,
    SchedulerAlreadyRunningError,
)
from amltk_testing import EventRecorder


def double(x: int) -> int:
    return 2 * x


def fail(x: int) -> int:
    raise ValueError(x)


ENDS = ["on_future_done", "on_future_result", "on_done", "on_result"]


class AnswerAll(TaskPlugin):
    """Answers each call by what it is made with."""

    def __init__(self, answer: object) -> None:
        self.answer = answer

    def pre_submit(self, function, /, *args, **kwargs):
        return self.answer


class SchedulerAnswers(SchedulerPlugin):
    def __init__(self, answer: object) -> None:
        self.answer = answer

    def pre_submit(self, function, /, *args, **kwargs):
        return self.answer


class Journal(SchedulerPlugin):
    """Hears of ends, and is done with them when told."""

    def __init__(self) -> None:
        self.heard = []
        self.slow = {}

    async def before_delivery(self, future, outcome):
        self.heard.append((future.args, outcome.value, outcome.exception, future.done()))
        if future.args in self.slow:
            await self.slow[future.args].wait()

    async def has_heard(self, number: int) -> None:
        while len(self.heard) < number:  # noqa: ASYNC110 - simpler than an event for each number
            await asyncio.sleep(0)


@pytest.fixture
def scheduler(manual) -> Scheduler:
    return Scheduler(manual)


def run_with(scheduler, begin, **options):
    scheduler.on_start(begin)
    return scheduler.run(**options)


# Answers and refusals as values


def test_an_answer_is_a_value_or_an_exception():
    error = ValueError("no")
    assert (Answer(None).value, Answer(None).exception) == (None, None)
    assert (Answer(3).value, Answer(exception=error).exception) == (3, error)
    assert repr(Answer([1])) == "Answer([1])"
    assert repr(Answer(exception=error)) == "Answer(exception=ValueError('no'))"


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (Answer, "Answer takes a value, .* got neither"),
        (lambda: Answer(1, exception=ValueError()), "got both"),
        (lambda: Answer(exception=ValueError), r"got ValueError. Make an object of it: ValueError\("),
        (lambda: Answer(exception="no"), "exception must be an exception, got 'no'"),
        (lambda: Refusal(None), "reason must be"),
    ],
)
def test_a_wrong_answer_or_refusal_is_refused_where_it_is_made(make, text):
    with pytest.raises(TypeError, match=text):
        make()


@pytest.mark.parametrize("reason", ["", "  "])
def test_a_refusal_has_a_reason(reason):
    with pytest.raises(ValueError, match="reason must not be empty"):
        Refusal(reason)


# Refusals


def test_a_refusal_returns_none_and_tells_why(scheduler, manual):
    refusal = Refusal("it is late")
    plugin = AnswerAll(refusal)
    task = scheduler.task(double, plugins=plugin)
    returned = []
    run_with(scheduler, lambda: returned.append(task(1)))
    assert returned == [None]
    assert manual.calls == []
    assert (task.refused_by, task.refusal) == (plugin, refusal)
    assert task.n_submitted == task.n_running == 0


def test_none_is_a_refusal_without_a_reason(scheduler):
    plugin = AnswerAll(None)
    task = scheduler.task(double, plugins=plugin)
    task.refusal = Refusal("of an earlier call")
    run_with(scheduler, lambda: task(1))
    assert (task.refused_by, task.refusal) == (plugin, None)


@pytest.mark.parametrize("wrong", [Refusal, Answer, "no", True, (double, ())])
def test_what_pre_submit_may_not_return_names_the_plugin(scheduler, wrong):
    scheduler.add_plugin(SchedulerAnswers(wrong))
    with pytest.raises(TypeError, match=r"^pre_submit of SchedulerAnswers must return \(function, args, kwargs\), "):
        run_with(scheduler, lambda: scheduler.submit(double, 1))


def test_a_scheduler_refuses_calls_of_submit(scheduler, manual):
    plugin = SchedulerAnswers(Refusal("closed today"))
    scheduler.add_plugin(plugin)
    task = scheduler.task(double)
    returned = []
    run_with(scheduler, lambda: returned.extend([scheduler.submit(double, 1), task(1)]))
    assert returned == [None, None]
    assert (scheduler.refused_by, scheduler.refusal.reason) == (plugin, "closed today")
    assert (task.refused_by, task.refusal.reason) == (plugin, "closed today")
    assert manual.calls == []


def test_a_map_says_why_an_item_was_refused(scheduler, caplog):
    task = scheduler.task(double, plugins=AnswerAll(Refusal("item 3 is not wanted")))
    run_with(scheduler, lambda: task.map([3], buffersize=1))
    assert "AnswerAll refused it (item 3 is not wanted) while no call was under way" in caplog.text


def test_the_call_limiter_gives_its_reasons():
    scheduler = Scheduler.with_sequential()
    other = scheduler.task(abs)
    reasons = []
    tasks = [
        scheduler.task(double, plugins=CallLimiter(max_calls=1)),
        scheduler.task(double, plugins=CallLimiter(max_concurrent=1)),
        scheduler.task(double, plugins=CallLimiter(not_while_running=other)),
    ]

    @scheduler.on_start
    def begin():
        other(1)
        for task in tasks:
            task(1)
            task(2)
            reasons.append(task.refusal.reason)

    scheduler.run()
    assert reasons == [
        "max_calls=1 calls were accepted",
        "max_concurrent=1 calls are under way",
        "not_while_running: abs is under way",
    ]


# Answers


def test_an_answered_call_is_a_call_like_any_other(scheduler, manual):
    task = scheduler.task(double, plugins=AnswerAll(Answer("known")))
    recorder = EventRecorder(scheduler, task)
    seen = []

    @scheduler.on_start
    def begin():
        future = task(1)
        seen.append((future.done(), task.n_running, task.n_submitted, scheduler.queue == (future,), task.queue))

    @task.on_result
    def tell(future, result):
        seen.append((result, future.result(), future.function, future.args, task.n_running, scheduler.queue))

    assert scheduler.run().code.name == "EXHAUSTED"
    assert seen[0][:4] == (False, 1, 1, True)
    assert seen[1] == ("known", "known", double, (1,), 0, ())
    assert manual.calls == []
    submitted = ["on_future_submitted", "on_submitted"]
    assert recorder.names == ["on_start", *submitted, *ENDS, "on_empty", "on_finishing", "on_finished"]


def test_the_result_comes_in_a_later_turn_of_the_loop(scheduler):
    task = scheduler.task(double, plugins=AnswerAll(Answer(None)))
    order = []
    task.on_result(lambda *_: order.append("result"))

    @scheduler.on_start
    def begin():
        asyncio.get_running_loop().call_soon(order.append, "turn")
        task(1)
        order.append("submitted")

    @task.on_done(limit=1)
    def again(_):
        asyncio.get_running_loop().call_soon(order.append, "turn")
        task(2)
        order.append("submitted")

    scheduler.run()
    assert order == ["submitted", "turn", "submitted", "result", "turn", "result"]


def test_no_other_plugin_is_asked_about_an_answered_call(scheduler):
    task = scheduler.task(double, plugins=[AnswerAll(Answer(1)), AnswerAll(pytest.fail)])
    run_with(scheduler, lambda: task(1))
    assert task.event_counts["on_result"] == 1


def test_answered_calls_count_for_limits(scheduler):
    task = scheduler.task(double, plugins=[CallLimiter(max_calls=3, max_concurrent=2), AnswerAll(Answer(1))])
    returned = []
    scheduler.on_empty(lambda: returned.extend(task(x) is not None for x in range(3)), limit=3)
    scheduler.run()
    assert returned == [True, True, False, True, False, False, False, False, False]
    assert task.event_counts["on_result"] == 3


def test_an_answered_exception_is_raised_by_policy(scheduler):
    task = scheduler.task(double, plugins=AnswerAll(Answer(exception=KeyError("known"))))
    with pytest.raises(KeyError) as raised:
        run_with(scheduler, lambda: task(1))
    assert raised.value.__notes__ == ["The call: double(1)"]
    assert scheduler.run(on_exception="end").code.name == "EXCEPTION"
    assert scheduler.run(on_exception="ignore").code.name == "EXHAUSTED"
    assert task.event_counts["on_exception"] == 3


@pytest.mark.parametrize(
    "error", [SystemExit(3), KeyboardInterrupt(), asyncio.CancelledError(), StopIteration(1)], ids=repr
)
def test_any_exception_may_be_an_answer(scheduler, error):
    task = scheduler.task(double, plugins=AnswerAll(Answer(exception=error)))
    told = []
    task.on_exception(lambda future, exception: told.append((exception, future.cancelled())))
    run_with(scheduler, lambda: task(1), on_exception="ignore")
    assert told == [(error, False)]
    assert task.event_counts["on_cancelled"] == 0


def test_an_answered_exception_is_not_retried(scheduler, manual):
    task = scheduler.task(double, plugins=[Retry(on=KeyError), AnswerAll(Answer(exception=KeyError("known")))])
    recorder = EventRecorder(task)
    run_with(scheduler, lambda: task(1), on_exception="ignore")
    assert recorder.names == ["on_submitted", "on_done", "on_exception"]
    assert manual.calls == []


def test_an_answered_call_can_be_cancelled_until_its_turn(scheduler):
    task = scheduler.task(double, plugins=AnswerAll(Answer(1)))
    recorder = EventRecorder(task)
    cancelled = []
    run_with(scheduler, lambda: cancelled.append(task(1).cancel()))
    assert cancelled == [True]
    assert recorder.names == ["on_submitted", "on_cancelled"]


def test_a_callback_of_on_submitted_may_cancel_an_answered_call(scheduler):
    task = scheduler.task(double, plugins=AnswerAll(Answer(1)))
    task.on_submitted(lambda future, _: future.cancel())
    recorder = EventRecorder(task)
    run_with(scheduler, lambda: task(1))
    assert recorder.names == ["on_submitted", "on_cancelled"]


@pytest.mark.parametrize("wait", [True, False])
@pytest.mark.parametrize("how", ["stop", "timeout", "error"])
def test_answered_calls_end_once_however_the_run_does(scheduler, wait, how):
    task = scheduler.task(double, plugins=AnswerAll(Answer(1)))
    recorder = EventRecorder(scheduler, task)

    @scheduler.on_start
    def begin():
        for x in range(5):
            task(x)
        if how == "stop":
            scheduler.stop()
        elif how == "error":
            raise KeyError

    @task.on_result
    def forever(*_):
        if how == "timeout":
            task(1)

    options = {"timeout": 0.05} if how == "timeout" else {}
    scheduler.run(wait=wait, on_exception="end", **options)
    counts = task.event_counts
    assert counts["on_submitted"] == counts["on_done"] + counts["on_cancelled"]
    assert counts["on_done"] == counts["on_result"]
    assert task.n_running == 0
    assert recorder.names[-1] == "on_finished"
    if how != "timeout":
        assert counts["on_cancelled"] == 5


def test_an_answer_in_a_second_run_and_in_a_loop_that_goes_on(manual):
    scheduler = Scheduler(manual)
    task = scheduler.task(double, plugins=AnswerAll(Answer(1)))
    scheduler.on_start(lambda: [task(1), scheduler.stop()])

    async def main():
        for _ in range(3):
            await scheduler.async_run(wait=False)
        await asyncio.sleep(0)

    asyncio.run(main())
    assert task.event_counts["on_cancelled"] == 3


def test_answers_and_workers_side_by_side():
    known = {(x,): Answer(-x) for x in range(0, 40, 2)}

    class Cache(TaskPlugin):
        def pre_submit(self, function, /, *args, **kwargs):
            return known.get(args) or (function, args, kwargs)

    with ThreadPoolExecutor(2) as executor:
        scheduler = Scheduler(executor)
        task = scheduler.task(double, plugins=Cache())
        results = {}
        task.on_result(lambda future, result: results.__setitem__(future.args[0], result))
        run_with(scheduler, lambda: task.map(range(40), buffersize=3))
    assert results == {x: 2 * x if x % 2 else -x for x in range(40)}


def test_an_answered_value_that_nobody_awaits_is_an_error_as_any():
    async def work():
        pass

    scheduler = Scheduler.with_sequential()
    coroutine = work()
    task = scheduler.task(double, plugins=AnswerAll(Answer(coroutine)))
    with pytest.raises(TypeError, match="coroutine"):
        run_with(scheduler, lambda: task(1))
    coroutine.close()


# Plugins of a scheduler


def test_plugins_of_the_scheduler_are_asked_first_for_every_call(scheduler, manual):
    asked = []

    class Add(SchedulerPlugin):
        def __init__(self, number):
            self.number = number

        def pre_submit(self, function, /, *args, **kwargs):
            asked.append((self.number, args))
            return function, (*args, self.number), kwargs

    class TaskAdd(TaskPlugin):
        def pre_submit(self, function, /, *args, **kwargs):
            asked.append(("task", args))
            return function, (*args, "task"), kwargs

    early = scheduler.task(double)
    scheduler.add_plugin(Add(1))
    scheduler.add_plugin(Add(2))
    late = scheduler.task(double, plugins=TaskAdd())
    run_with(
        scheduler, lambda: [early(0), late(0), scheduler.submit(double, 0), scheduler.call_later(0, scheduler.stop)]
    )
    assert [call.args for call in manual.calls] == [(0, 1, 2), (0, 1, 2, "task"), (0, 1, 2)]
    assert asked == [(1, (0,)), (2, (0, 1)), (1, (0,)), (2, (0, 1)), ("task", (0, 1, 2)), (1, (0,)), (2, (0, 1))]


def test_a_scheduler_plugin_has_its_events_and_callbacks(scheduler):
    class Watch(SchedulerPlugin):
        SEEN: Event[[int]] = Event("seen", "A call returned; callbacks receive (result).")

        def attach_scheduler(self, scheduler):
            assert self.scheduler is scheduler
            scheduler.on_future_result(lambda _, result: scheduler.emit(self.SEEN, result))

        def pre_submit(self, function, /, *args, **kwargs):
            return Answer(args[0])

    plugin = Watch()
    assert (Watch.name, plugin.scheduler) == ("Watch", None)
    scheduler.add_plugin(plugin)
    assert scheduler.plugins == (plugin,)
    seen = []
    scheduler.on("seen", seen.append)
    scheduler.on_future_result.clear()  # keeps the plugin's
    run_with(scheduler, lambda: scheduler.submit(double, 7))
    assert seen == [7]


def test_a_scheduler_plugin_may_have_calls_run_again(scheduler, manual):
    class Again(SchedulerPlugin):
        def retry_after(self, future, error):
            return 0 if len(manual.calls) < 3 else None

    class Never(TaskPlugin):
        def retry_after(self, future, error):
            pytest.fail("the scheduler's plugin said yes")

    scheduler.add_plugin(Again())
    recorder = EventRecorder(scheduler)

    @scheduler.on_start
    async def resolve():
        scheduler.submit(double, 1)
        for number in range(3):
            while len(manual.calls) <= number:  # noqa: ASYNC110 - nothing tells of that
                await asyncio.sleep(0)
            manual.fail(number, KeyError()) if number < 2 else manual.resolve(2, "third")

    scheduler.run()
    while_running = [name for name in recorder.names if name.startswith("on_future")]
    assert while_running == ["on_future_submitted", "on_future_done", "on_future_result"]


@pytest.mark.parametrize(
    ("wrong", "text"),
    [
        (None, "plugin must be a SchedulerPlugin, got None of type NoneType"),
        (Journal, "Make an object of it"),
        (AnswerAll(None), r"A plugin of a task is given when that is made: scheduler.task\(function, plugins="),
    ],
)
def test_what_is_no_scheduler_plugin_is_refused(scheduler, wrong, text):
    with pytest.raises(TypeError, match=text):
        scheduler.add_plugin(wrong)
    assert scheduler.plugins == ()


def test_a_scheduler_plugin_is_no_task_plugin(scheduler):
    with pytest.raises(TypeError, match=r"plugins must be a TaskPlugin .*scheduler.add_plugin\("):
        scheduler.task(double, plugins=Journal())


def test_a_scheduler_plugin_belongs_to_one_scheduler(scheduler, manual):
    plugin = Journal()
    scheduler.add_plugin(plugin)
    with pytest.raises(PluginAttachedError, match="attached to <Scheduler> already; once is enough"):
        scheduler.add_plugin(plugin)
    with pytest.raises(PluginAttachedError, match=r"Make a new Journal\(...\) for <Scheduler>"):
        Scheduler(manual).add_plugin(plugin)
    assert plugin.scheduler is scheduler


def test_a_scheduler_plugin_is_not_added_during_a_run(scheduler):
    plugin = Journal()
    with pytest.raises(SchedulerAlreadyRunningError, match="add Journal before run"):
        run_with(scheduler, lambda: scheduler.add_plugin(plugin))
    assert plugin.scheduler is None
    scheduler.add_plugin(plugin)


def test_a_scheduler_plugin_that_cannot_be_added_leaves_nothing(scheduler):
    class Bad(SchedulerPlugin):
        GOOD: Event[[]] = Event("good-one", "callbacks receive nothing.")
        TAKEN: Event[[]] = Event("on_start", "callbacks receive nothing.")

    class Raises(SchedulerPlugin):
        GOOD: Event[[]] = Event("good-one", "callbacks receive nothing.")

        def attach_scheduler(self, scheduler):
            scheduler.on_start(pytest.fail)
            raise KeyError

    events = scheduler.events
    for plugin, error in [(Bad(), DuplicateEventError), (Raises(), KeyError)]:
        with pytest.raises(error):
            scheduler.add_plugin(plugin)
        assert (plugin.scheduler, scheduler.plugins, scheduler.events) == (None, (), events)
    scheduler.run()


# Options of a call


class Options(TaskPlugin):
    def __init__(self, given):
        self.given = given

    def call_options(self, function, /, *args, **kwargs):
        return self.given


class SchedulerOptions(SchedulerPlugin):
    def call_options(self, function, /, *args, **kwargs):
        return CallOptions(priority=args[0], timeout=9) if args[0] else None


def test_options_of_plugins_are_merged_in_their_order(scheduler, manual):
    scheduler.add_plugin(SchedulerOptions())
    plugins = [Options(CallOptions(timeout=5, resources={"GPU": 1})), Options(None), Options(CallOptions(timeout=3))]
    task = scheduler.task(double, plugins=plugins)
    plain = scheduler.task(double)
    plain.timeout = 7
    futures = []
    run_with(
        scheduler,
        lambda: [futures.extend([task(1), plain(2), plain(0), scheduler.submit(double, 3)]), scheduler.stop()],
        wait=False,
    )
    expected = [
        CallOptions(priority=1, timeout=3, resources={"GPU": 1}),
        CallOptions(priority=2, timeout=9),
        CallOptions(timeout=7),
        CallOptions(priority=3, timeout=9),
    ]
    assert [call.options for call in manual.calls] == expected
    assert [future.options for future in futures] == expected


def test_a_call_that_runs_again_keeps_its_options(scheduler, manual):
    class Again(Options):
        def retry_after(self, future, error):
            return 0

    task = scheduler.task(double, plugins=Again(CallOptions(priority=4)))

    @scheduler.on_start
    async def begin():
        task(1)
        manual.fail(0, KeyError())
        while len(manual.calls) < 2:  # noqa: ASYNC110 - nothing tells of that
            await asyncio.sleep(0)
        manual.resolve(1)

    scheduler.run()
    assert [call.options.priority for call in manual.calls] == [4, 4]


def test_an_option_that_the_executor_does_not_accept_is_refused():
    scheduler = Scheduler.with_sequential()
    task = scheduler.task(double, plugins=Options(CallOptions(resources={"GPU": 1})))
    with pytest.raises(NotSupportedError, match=r"with_sequential\(\) does not accept the option resources="):
        run_with(scheduler, lambda: task(1))
    assert task.n_submitted == 0


def test_what_call_options_may_not_return_names_the_plugin(scheduler):
    task = scheduler.task(double, plugins=Options({"timeout": 3}))
    with pytest.raises(TypeError, match="call_options of Options must return CallOptions or None, got"):
        run_with(scheduler, lambda: task(1))


def test_no_options_are_asked_for_an_answered_call(scheduler):
    task = scheduler.task(double, plugins=[Options("asked"), AnswerAll(Answer(1))])
    run_with(scheduler, lambda: task(1))
    assert task.event_counts["on_result"] == 1


# Before delivery


def test_a_plugin_hears_of_an_end_before_anybody_is_told(scheduler, manual):
    journal = Journal()
    scheduler.add_plugin(journal)
    task = scheduler.task(double)
    error = ValueError("bad")
    told = []
    task.on_done(lambda future: told.append((future.args, len(journal.heard))))

    @scheduler.on_start
    def begin():
        for x in range(2):
            task(x)
        manual.resolve(0, "good")
        manual.fail(1, error)

    scheduler.run(on_exception="ignore")
    assert journal.heard == [((0,), "good", None, False), ((1,), None, error, False)]
    assert [args for args, _ in told] == [(0,), (1,)]


def test_calls_are_told_in_the_order_in_which_they_ended_and_go_on_meanwhile(scheduler, manual):
    journal = Journal()
    scheduler.add_plugin(journal)
    task = scheduler.task(double)
    told, queues = [], []
    task.on_done(lambda future: told.append(future.args[0]))
    task.on_cancelled(lambda future: told.append(future.args[0]))

    @scheduler.on_start
    async def begin():
        journal.slow = {(0,): asyncio.Event()}
        futures = [task(x) for x in range(5)]
        for x in (2, 0, 1):
            manual.resolve(x)
        futures[3].cancel()
        await journal.has_heard(3)
        for _ in range(10):
            await asyncio.sleep(0)
        queues.append([future.args[0] for future in task.queue])
        assert (futures[0].done(), futures[0].cancel(), task.n_running) == (False, False, 4)
        task(5)  # others go on
        manual.resolve(5)
        await journal.has_heard(4)
        assert told == [2]
        journal.slow[(0,)].set()
        manual.resolve(4)

    scheduler.run()
    assert queues == [[0, 1, 3, 4]]
    assert told[:5] == [2, 0, 1, 3, 5]
    assert told[5:] == [4]


def test_several_plugins_hear_one_after_the_other(scheduler, manual):
    heard = []

    class Hear(SchedulerPlugin):
        def __init__(self, label):
            self.label = label

        async def before_delivery(self, future, outcome):
            heard.append(self.label)
            await asyncio.sleep(0)
            heard.append(self.label)

    class Quick(TaskPlugin):
        def before_delivery(self, future, outcome):
            heard.append("quick")

    scheduler.add_plugin(Hear("first"))
    scheduler.add_plugin(Hear("second"))
    task = scheduler.task(double, plugins=Quick())
    task.on_result(lambda *_: heard.append("told"))
    run_with(scheduler, lambda: [task(1), manual.resolve(0)])
    assert heard == ["first", "first", "second", "second", "quick", "told"]


def test_a_task_made_during_a_run_may_hear_of_ends(scheduler, manual):
    heard = []

    class Hear(TaskPlugin):
        def before_delivery(self, future, outcome):
            heard.append(outcome.value)

    @scheduler.on_start
    def begin():
        scheduler.submit(double, 1)
        scheduler.task(double, plugins=Hear())(2)
        manual.resolve(0, "one")
        manual.resolve(1, "two")

    scheduler.run()
    assert heard == ["two"]
    assert scheduler.event_counts["on_future_result"] == 2


@pytest.mark.parametrize("is_async", [True, False])
@pytest.mark.parametrize("error", [KeyError("disk full"), asyncio.CancelledError()], ids=repr)
def test_what_before_delivery_raises_loses_no_outcome(scheduler, manual, caplog, is_async, error):
    class Bad(SchedulerPlugin):
        def before_delivery(self, future, outcome):
            raise error

    class AsyncBad(SchedulerPlugin):
        async def before_delivery(self, future, outcome):
            await asyncio.sleep(0)
            raise error

    scheduler.add_plugin(AsyncBad() if is_async else Bad())
    task = scheduler.task(double)
    results = []
    task.on_result(lambda _, result: results.append(result))
    scheduler.on_start(lambda: [task(1), manual.resolve(len(manual.calls) - 1, "result")])
    scheduler.run(on_exception="ignore")
    assert "The method before_delivery of" in caplog.text
    with pytest.raises(type(error)) as raised:
        scheduler.run()
    assert "before_delivery of" in raised.value.__notes__[0]
    assert results == ["result", "result"]


def test_before_delivery_cannot_change_the_outcome(scheduler, manual, caplog):
    class Change(SchedulerPlugin):
        def before_delivery(self, future, outcome):
            outcome.value = "changed"
            return Answer("changed")

    scheduler.add_plugin(Change())
    results = []
    scheduler.on_future_result(lambda _, result: results.append(result))
    run_with(scheduler, lambda: [scheduler.submit(double, 1), manual.resolve(0, "as it was")], on_exception="ignore")
    assert results == ["as it was"]
    assert "before_delivery of Change must return None, or be 'async def'" in caplog.text


def test_a_slow_before_delivery_that_holds_everything_up_is_told(scheduler, manual, monkeypatch, caplog):
    monkeypatch.setattr("amltk.events.handler.BLOCKING_SECONDS", 0)

    class Slow(SchedulerPlugin):
        def before_delivery(self, future, outcome):
            pass

    scheduler.add_plugin(Slow())
    run_with(scheduler, lambda: [scheduler.submit(double, 1), manual.resolve(0)])
    assert "before_delivery of Slow took 0.0 s" in caplog.text


def test_a_failed_call_is_retried_before_a_plugin_hears_of_its_end(scheduler, manual):
    journal = Journal()

    class Again(TaskPlugin):
        def retry_after(self, future, error):
            return 0

    scheduler.add_plugin(journal)
    task = scheduler.task(double, plugins=Again())
    scheduler.on_start(lambda: [task(1), manual.fail(0, KeyError())])

    @scheduler.on_start
    async def resolve():
        while len(manual.calls) < 2:  # noqa: ASYNC110 - nothing tells of that
            await asyncio.sleep(0)
        manual.resolve(1, "second")

    scheduler.run()
    assert journal.heard == [((1,), "second", None, False)]
    assert scheduler.queue == ()


def test_answered_calls_are_heard_of_too(scheduler):
    journal = Journal()
    scheduler.add_plugin(journal)
    task = scheduler.task(double, plugins=AnswerAll(Answer("known")))
    run_with(scheduler, lambda: task(1))
    assert journal.heard == [((1,), "known", None, False)]


def test_a_run_that_waits_tells_of_all_that_is_held(scheduler, manual):
    journal = Journal()
    scheduler.add_plugin(journal)
    results = []
    scheduler.on_future_result(lambda future, _: results.append(future.args[0]))

    @scheduler.on_start
    async def begin():
        journal.slow = {(0,): asyncio.Event()}
        scheduler.submit(double, 0)
        scheduler.submit(double, 1)
        manual.resolve(0)
        manual.resolve(1)
        await journal.has_heard(2)
        scheduler.stop()
        await asyncio.sleep(0.01)
        assert results == []
        journal.slow[(0,)].set()

    scheduler.run()
    assert results == [0, 1]


@pytest.mark.parametrize("cleans_up", [True, False])
def test_a_run_that_ends_at_once_cancels_what_no_plugin_has_done_with(
    scheduler, manual, monkeypatch, caplog, cleans_up
):
    monkeypatch.setattr("amltk.scheduling.run.GRACE_SECONDS", 0.05)
    journal = Journal()
    scheduler.add_plugin(journal)
    recorder = EventRecorder(scheduler)

    @scheduler.on_start
    async def begin():
        journal.slow = {(0,): asyncio.Event()}
        for x in range(3):
            scheduler.submit(double, x)
        manual.resolve(0, "slow")
        manual.resolve(1, "quick")
        await journal.has_heard(2)
        scheduler.stop()
        if cleans_up:
            journal.slow[(0,)].set()

    scheduler.run(wait=False)
    ends = [(name, args[0].args[0]) for _, name, args, _ in recorder.recorded if name.startswith("on_future_")]
    ends = [end for end in ends if end[0] in {"on_future_result", "on_future_cancelled"}]
    first = "on_future_result" if cleans_up else "on_future_cancelled"
    assert sorted(ends) == sorted([(first, 0), ("on_future_result", 1), ("on_future_cancelled", 2)])
    assert ("which are told as cancelled: double(0)" in caplog.text) is not cleans_up
    assert recorder.names[-1] == "on_finished"


def test_a_run_that_is_torn_tells_of_what_is_held(scheduler, manual):
    journal = Journal()
    scheduler.add_plugin(journal)

    async def main():
        run = asyncio.create_task(scheduler.async_run())
        journal.slow = {(0,): asyncio.Event()}
        await journal.has_heard(1)
        run.cancel()
        await asyncio.sleep(0)
        current = scheduler.current_run
        current.break_off()
        with pytest.raises(asyncio.CancelledError):
            await run

    scheduler.on_start(lambda: [scheduler.submit(double, x) for x in range(2)])
    scheduler.on_start(lambda: manual.resolve(0))
    asyncio.run(main())
    assert scheduler.event_counts["on_future_cancelled"] == 2
    assert scheduler.event_counts["on_finished"] == 1
    gc.collect()  # a coroutine that nobody awaited would warn


def test_many_calls_are_held_and_the_loop_has_its_turns():
    class Batch(SchedulerPlugin):
        """Writes several ends at once, as a journal does."""

        def __init__(self) -> None:
            self.written = 0
            self.batches = 0
            self.waiting = []

        async def before_delivery(self, future, outcome):
            self.waiting.append(future)
            await asyncio.sleep(0)
            if self.waiting:
                self.batches += 1
                self.written += len(self.waiting)
                self.waiting.clear()

    with ThreadPoolExecutor(2) as executor:
        scheduler = Scheduler(executor)
        plugin = Batch()
        scheduler.add_plugin(plugin)
        task = scheduler.task(double)
        results = []
        task.on_result(lambda _, result: results.append(result))
        run_with(scheduler, lambda: task.map(range(500), buffersize=50))
    assert sorted(results) == [2 * x for x in range(500)]
    assert plugin.written == 500


def test_a_scheduler_without_such_plugins_holds_nothing(scheduler):
    held = []
    scheduler.task(double, plugins=CallLimiter())
    scheduler.add_plugin(SchedulerAnswers(Answer(1)))
    run_with(scheduler, lambda: held.append(scheduler.current_run.deliveries))
    assert held == [None]
