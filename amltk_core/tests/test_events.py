"""Events, emitters, and when callbacks are called; without any scheduler."""

from __future__ import annotations

import asyncio
import copy
import functools
import gc
import pickle
import weakref

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amltk import Emitter, Event, Scheduler, Subscriber, Subscribes
from amltk.events import Handler
from amltk.exceptions import DuplicateEventError, UnknownEventError
from amltk.scheduling.task_plugin import TaskPlugin


class Kettle(Emitter):
    HOT: Event[[float]] = Event("hot", "The water is hot; callbacks receive the degrees.")
    EMPTY: Event[[]] = Event("empty")
    on_hot = Subscribes(HOT)

    def __init__(self, name: str | None = None) -> None:
        super().__init__(name)
        self.on_empty = self.subscriber(self.EMPTY)


@pytest.fixture
def kettle() -> Kettle:
    return Kettle()


# Event


def test_an_event_equals_its_name_and_can_stand_for_it():
    assert Kettle.HOT == "hot"
    assert hash(Kettle.HOT) == hash("hot")
    assert {Kettle.HOT: 1}["hot"] == 1
    assert Event("hot", "another description") == Kettle.HOT
    assert type(Kettle.HOT.name) is str
    assert repr(Kettle.HOT) == "Event('hot')"


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_an_event_survives_pickling(protocol):
    again = pickle.loads(pickle.dumps(Kettle.HOT, protocol))
    assert (type(again), again, again.description) == (Event, "hot", Kettle.HOT.description)


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy])
def test_an_event_survives_copying(copied):
    again = copied(Kettle.HOT)
    assert (type(again), again, again.description) == (Event, "hot", Kettle.HOT.description)


@pytest.mark.parametrize(("name", "error"), [(3, TypeError), (None, TypeError), (b"hot", TypeError), ("", ValueError)])
def test_an_event_needs_a_name(name, error):
    with pytest.raises(error, match=r"^name must "):
        Event(name)


# Emitter


def test_events_of_the_class_come_first_inherited_ones_before_own_ones():
    class Samovar(Kettle):
        TEA = Event("tea")

    assert Samovar().events == ("hot", "empty", "tea")
    assert Kettle().events == ("hot", "empty")


def test_an_attribute_that_is_overridden_is_no_event_any_more():
    class Samovar(Kettle):
        HOT = Event("very-hot")
        EMPTY = None

        def __init__(self):
            Emitter.__init__(self)

    assert Samovar().events == ("very-hot",)


def test_events_of_a_mixin_count_too():
    class Whistle:
        BLOWN = Event("blown")

    class Samovar(Kettle, Whistle):
        pass

    assert set(Samovar().events) == {"hot", "empty", "blown"}


def test_a_second_name_for_an_event_is_no_second_event_but_a_second_event_of_a_name_is_refused():
    class Alias(Emitter):
        A = Event("a")
        B = A

    class Clash(Emitter):
        A = Event("a", "one thing")
        B = Event("a", "copied, and not renamed")

    assert Alias().events == ("a",)
    with pytest.raises(DuplicateEventError, match=r"<Clash> has an event 'a' already"):
        Clash()


def test_objects_of_a_class_share_no_callbacks(kettle):
    other = Kettle()
    kettle.on_hot(lambda _: None)
    kettle.emit(Kettle.HOT, 90.0)
    assert other.handlers["hot"] == ()
    assert not other.event_counts


def test_add_event_adds_to_one_object(kettle):
    cold = Event("cold")
    kettle.add_event(cold, Event("spilt"))
    assert kettle.events == ("hot", "empty", "cold", "spilt")
    seen = []
    kettle.on("cold", seen.append)
    kettle.emit(cold, 4)
    assert seen == [4]
    assert "cold" not in Kettle().events


def test_add_event_refuses_a_name_that_is_taken(kettle):
    with pytest.raises(DuplicateEventError, match=r"<Kettle> has an event 'hot' already"):
        kettle.add_event(Event("hot"))
    with pytest.raises(DuplicateEventError):
        kettle.add_event(Event("new"), Event("new"))


def test_add_event_refuses_what_is_no_event(kettle):
    with pytest.raises(TypeError, match=r"takes objects of class Event, got 'cold' of type str"):
        kettle.add_event("cold")


def test_an_emitter_is_named_after_its_class_or_as_one_likes(kettle):
    assert (kettle.name, repr(kettle)) == ("Kettle", "<Kettle>")
    assert repr(Kettle("red one")) == "<Kettle 'red one'>"


@pytest.mark.parametrize(
    "use",
    [
        lambda kettle: kettle.on("hott", print),
        lambda kettle: kettle.on("hott"),
        lambda kettle: kettle.on(Event("hott"), print),
        lambda kettle: kettle.subscriber(Event("hott")),
        lambda kettle: kettle.emit("hott"),
        lambda kettle: kettle.emit(Event("hott")),
    ],
)
def test_an_unknown_event_is_refused_with_a_list_and_the_nearest(kettle, use):
    with pytest.raises(UnknownEventError) as caught:
        use(kettle)
    assert str(caught.value) == ("<Kettle> has no event 'hott'. Did you mean 'hot'? Its events are: hot, empty.")
    assert isinstance(caught.value, KeyError)
    assert not kettle.event_counts


@pytest.mark.parametrize("wrong", [None, 3, ("hot",)])
def test_what_is_no_name_at_all_is_an_unknown_event(kettle, wrong):
    with pytest.raises(UnknownEventError, match="Its events are: hot, empty"):
        kettle.on(wrong, print)


def test_an_emitter_without_events_says_so():
    with pytest.raises(UnknownEventError, match=r"Its events are: none\."):
        Emitter().on("hot", print)


def test_event_counts_go_by_event_and_by_name(kettle):
    kettle.emit(Kettle.HOT, 90.0)
    kettle.emit("hot", 91.0)
    kettle.emit(Event("hot"), 92.0)
    counts = kettle.event_counts
    assert counts == {Kettle.HOT: 3} == {"hot": 3}
    assert counts[Kettle.HOT] == counts["hot"] == 3
    assert counts["empty"] == 0


def test_event_counts_have_events_as_keys_however_they_were_emitted(kettle):
    kettle.emit("hot", 91.0)
    (event,) = kettle.event_counts
    assert event is Kettle.HOT


def test_event_counts_are_a_copy(kettle):
    counts = kettle.event_counts
    counts["hot"] = 5
    kettle.emit(Kettle.EMPTY)
    assert kettle.event_counts == {"empty": 1}
    assert counts == {"hot": 5}


def test_emission_counts_before_callbacks_are_called(kettle):
    seen = []
    kettle.on_empty(lambda: seen.append(kettle.event_counts["empty"]))
    kettle.emit(Kettle.EMPTY)
    kettle.on_empty.emit()
    assert seen == [1, 2]


def test_handlers_cannot_be_changed_from_outside(kettle):
    with pytest.raises(TypeError):
        kettle.handlers[Kettle.HOT] = ()


def test_an_emitter_goes_when_nobody_holds_it(kettle):
    gone = weakref.ref(Kettle())
    gc.collect()
    assert gone() is None


# Registration


def test_all_ways_to_register(kettle):
    seen = []

    @kettle.on_hot
    def plain(degrees):
        seen.append("plain")

    @kettle.on_hot()
    def with_parentheses(degrees):
        seen.append("with_parentheses")

    @kettle.on("hot")
    def by_name(degrees):
        seen.append("by_name")

    @kettle.on(Kettle.HOT, limit=1)
    def by_event(degrees):
        seen.append("by_event")

    kettle.on_hot(lambda _: seen.append("call"))
    kettle.on("hot", lambda _: seen.append("on"))
    kettle.on("hot", callback=lambda _: seen.append("keyword"))
    kettle.emit(Kettle.HOT, 90.0)
    assert seen == ["plain", "with_parentheses", "by_name", "by_event", "call", "on", "keyword"]


def test_a_decorator_returns_the_function_so_that_several_can_be_stacked(kettle):
    seen = []

    def tell(*args):
        seen.append(args)

    assert kettle.on_hot(tell) is tell
    assert kettle.on_empty(limit=3)(tell) is tell
    assert kettle.on("hot", tell) is tell
    assert kettle.on("hot", every=2)(tell) is tell

    @kettle.on_hot
    @kettle.on_empty
    @Kettle().on_hot(repeat=2)
    def stacked(*args):
        seen.append("stacked")

    kettle.on_empty.emit()
    assert seen == [(), "stacked"]


def test_one_decorator_serves_several_functions_each_counted_for_itself(kettle):
    once = kettle.on_empty(limit=1)
    first, second = [], []
    once(lambda: first.append(1))
    once(lambda: second.append(1))
    kettle.on_empty.emit()
    kettle.on_empty.emit()
    assert (first, second) == ([1], [1])


def test_a_callback_registered_twice_is_called_twice(kettle):
    seen = []
    kettle.on_hot(seen.append)
    kettle.on_hot(seen.append)
    kettle.emit(Kettle.HOT, 1.0)
    assert seen == [1.0, 1.0]


def test_a_subscriber_belongs_to_one_emitter_and_says_to_which():
    kettle = Kettle("red one")
    assert isinstance(kettle.on_hot, Subscriber)
    assert (kettle.on_hot.emitter, kettle.on_hot.event) == (kettle, "hot")
    assert repr(kettle.on_hot) == "<Subscriber of 'hot' of <Kettle 'red one'>>"


def test_a_class_shows_its_subscribers_and_a_foreign_event_is_refused():
    class Wrong(Emitter):
        on_hot = Subscribes(Kettle.HOT)

    assert repr(Kettle.on_hot) == "Subscribes(Event('hot'))"
    with pytest.raises(UnknownEventError, match="has no event 'hot'"):
        _ = Wrong().on_hot


# Removal


def test_a_removed_callback_is_not_called_again(kettle):
    seen = []

    @kettle.on_hot
    def first(degrees):
        seen.append("first")

    kettle.on_hot(lambda _: seen.append("second"))
    assert kettle.on_hot.remove(first) is None
    kettle.on_hot.emit(90.0)
    assert seen == ["second"]
    kettle.on_hot(first)  # it may come back, as a new one
    kettle.on_hot.emit(90.0)
    assert seen == ["second", "second", "first"]


@pytest.mark.parametrize("options", [{"limit": 1}, {"repeat": 3}, {"every": 2}, {"when": lambda: True}])
def test_all_registrations_of_a_callback_are_removed(kettle, options):
    seen = []

    def tell(degrees):
        seen.append(degrees)

    kettle.on_hot(tell)
    kettle.on_hot(tell, **options)
    kettle.on_empty(tell)
    kettle.on_hot.remove(tell)
    kettle.on_hot.emit(90.0)
    assert seen == []
    assert kettle.handlers["hot"] == ()
    assert [handler.callback for handler in kettle.handlers["empty"]] == [tell]


def test_a_callback_that_has_reached_its_limit_can_be_removed(kettle):
    kettle.on_hot(print, limit=1)
    kettle.on_hot(abs, limit=1)
    kettle.on_hot.emit(90.0)
    kettle.on_hot.remove(abs)
    assert [handler.callback for handler in kettle.handlers["hot"]] == [print]


def test_a_method_is_removed_by_its_object_and_no_other_one(kettle):
    class Diary(list):
        def write(self, degrees):
            self.append(degrees)

    mine, other = Diary(), Diary()  # equal, and not the same
    kettle.on_hot(mine.write)
    kettle.on_hot(mine.append)
    kettle.on_hot(mine.__contains__)
    kettle.on_hot(other.write)
    kettle.on_hot(other.append)
    kettle.on_hot.remove(mine.write)
    kettle.on_hot.remove(mine.append)
    kettle.on_hot.remove(mine.__contains__)
    kettle.on_hot.emit(90.0)
    assert (mine, other) == ([], [90.0, 90.0])


def test_objects_that_are_only_equal_are_not_taken_for_each_other(kettle):
    class Always:
        def __eq__(self, other):
            pytest.fail("nobody should ask")

        __hash__ = object.__hash__

        def __call__(self, degrees):
            pass

    one, other = Always(), Always()
    kettle.on_hot(one)
    kettle.on_hot([].append)
    with pytest.raises(ValueError, match="is not registered"):
        kettle.on_hot.remove(other)
    with pytest.raises(ValueError, match="is not registered"):
        kettle.on_hot.remove({}.get)
    kettle.on_hot.remove(one)


def test_what_is_not_registered_is_refused_with_what_is(kettle):
    def first(degrees):
        pass

    kettle.on_empty(first)
    where = "for 'hot' of <Kettle>"
    name = first.__qualname__
    with pytest.raises(ValueError, match=f"is not registered {where}. Registered callbacks: none.$"):
        kettle.on_hot.remove(first)
    kettle.on_hot(print)
    kettle.on_hot(abs)
    with pytest.raises(ValueError, match=f"^{name} is not registered {where}. Registered callbacks: print, abs.$"):
        kettle.on_hot.remove(first)
    with pytest.raises(TypeError, match="callback must be callable, got 'print'"):
        kettle.on_hot.remove("print")


def test_a_definition_that_is_run_again_is_said_to_be_another(kettle):
    def cell():
        def tell(degrees):
            pass

        return tell

    kettle.on_hot(cell())
    with pytest.raises(ValueError, match=r"tell is another object: .* or all callbacks of the event by clear\(\)"):
        kettle.on_hot.remove(cell())


def test_a_callback_may_remove_itself_and_starves_nobody(kettle):
    seen = []

    @kettle.on_empty(repeat=3)
    def once():
        seen.append("once")
        kettle.on_empty.remove(once)

    kettle.on_empty(lambda: seen.append("next"))
    kettle.on_empty.emit()
    kettle.on_empty.emit()
    assert seen == ["once", "next", "next"]


@pytest.mark.parametrize("options", [{}, {"limit": 5}, {"repeat": 2}, {"when": lambda: pytest.fail("asked")}])
def test_a_callback_that_is_removed_while_others_are_called_is_not_called_any_more(kettle, options):
    seen = []

    def victim():
        seen.append("victim")

    kettle.on_empty(lambda: kettle.on_empty.remove(victim), limit=1)
    kettle.on_empty(victim, **options)
    kettle.on_empty(lambda: seen.append("last"))
    kettle.on_empty.emit()
    assert seen == ["last"]


def test_when_may_remove_its_callback(kettle):
    seen = []

    def tell():
        seen.append("told")

    def last_time():
        kettle.on_empty.remove(tell)
        return True

    kettle.on_empty(tell, when=last_time)
    kettle.on_empty.emit()
    assert seen == []


def test_a_callback_may_be_removed_and_registered_anew_while_it_is_called(kettle):
    seen = []

    @kettle.on_empty
    def again():
        seen.append("again")
        kettle.on_empty.remove(again)
        kettle.on_empty(again)

    kettle.on_empty.emit()
    assert seen == ["again"]
    kettle.on_empty.emit()
    assert seen == ["again", "again"]


def test_removal_from_within_an_emission_of_the_same_event(kettle):
    seen = []

    @kettle.on_empty(limit=1)
    def first():
        kettle.on_empty.emit()

    @kettle.on_empty
    def second():
        seen.append("second")
        kettle.on_empty.remove(second)

    kettle.on_empty.emit()
    assert seen == ["second"]


def test_clear_removes_all_callbacks_of_one_event_and_may_be_called_ever_again(kettle):
    seen = []
    kettle.on_empty(kettle.on_empty.clear)
    kettle.on_empty(lambda: seen.append("empty"))
    kettle.on_hot(lambda _: seen.append("hot"))
    kettle.on_empty.emit()
    kettle.on_empty.clear()
    kettle.on_hot.emit(90.0)
    assert seen == ["hot"]
    assert kettle.handlers["empty"] == ()


def test_events_are_cleared_and_callbacks_removed_by_the_name_of_the_event(kettle):
    kettle.add_event(Event("whistle"))
    kettle.on("whistle", print)
    kettle.on("whistle", abs)
    kettle.subscriber("whistle").remove(print)
    assert [handler.callback for handler in kettle.handlers["whistle"]] == [abs]
    kettle.subscriber("whistle").clear()
    assert kettle.handlers["whistle"] == ()


def test_a_cell_that_is_run_again_calls_nothing_twice():
    scheduler = Scheduler.with_sequential()
    task = scheduler.task(abs)
    seen = []

    def cell():
        scheduler.on_start.clear()
        task.on_result.clear()
        scheduler.on_start(lambda: task(-1))

        @task.on_result
        async def show(future, result):
            seen.append(result)

    for _ in range(3):
        cell()
        seen.clear()
        scheduler.run()
        assert seen == [1]


def test_an_async_callback_that_has_started_goes_on_when_it_is_removed():
    scheduler = Scheduler.with_sequential()
    seen = []

    @scheduler.on_start
    async def greet():
        seen.append("started")
        scheduler.on_start.remove(greet)
        await asyncio.sleep(0)
        seen.append("ended")

    scheduler.run()
    scheduler.run()
    assert seen == ["started", "ended"]


def test_clear_keeps_what_plugins_have_registered_and_remove_takes_it_away():
    seen = []

    class Watch(TaskPlugin):
        def attach_task(self, task):
            task.on_result(self.tell)
            task.scheduler.on_finished(self.end)

        def tell(self, future, result):
            seen.append("plugin")

        def end(self):
            seen.append("end")

    scheduler = Scheduler.with_sequential()
    plugin = Watch()
    task = scheduler.task(abs, plugins=plugin)
    scheduler.on_start(lambda: task(-1))
    task.on_result(lambda *_: seen.append("user"))
    scheduler.on_finished(lambda: seen.append("user's end"))
    task.on_result.clear()
    scheduler.on_finished.clear()
    scheduler.run()
    assert seen == ["plugin", "end"]
    task.on_result.remove(plugin.tell)
    scheduler.run()
    assert seen == ["plugin", "end", "end"]


WRONG = [
    ({"repeat": 0}, ValueError),
    ({"repeat": -1}, ValueError),
    ({"repeat": None}, TypeError),
    ({"repeat": 1.0}, TypeError),
    ({"repeat": True}, TypeError),
    ({"every": 0}, ValueError),
    ({"every": -3}, ValueError),
    ({"every": "2"}, TypeError),
    ({"limit": 0}, ValueError),
    ({"limit": -1}, ValueError),
    ({"limit": 2.5}, TypeError),
    ({"limit": float("inf")}, TypeError),
    ({"when": True}, TypeError),
    ({"when": "always"}, TypeError),
]


@pytest.mark.parametrize(("options", "error"), WRONG)
def test_a_wrong_value_is_refused_at_registration_by_its_name(kettle, options, error):
    (argument, value), *_ = options.items()
    said = rf"^{argument} must be .*got {value!r}"
    with pytest.raises(error, match=said):
        kettle.on_hot(print, **options)
    with pytest.raises(error, match=said):
        kettle.on_hot(**options)  # not only when the function is there to be decorated
    with pytest.raises(error, match=said):
        kettle.on("hot", print, **options)
    assert kettle.handlers["hot"] == ()


@pytest.mark.parametrize("wrong", [None, 3, "print", [print]])
def test_what_cannot_be_called_is_refused_at_registration(kettle, wrong):
    for register in (kettle.on_hot, kettle.on_hot(), kettle.on_hot(limit=2), functools.partial(kettle.on, "hot")):
        with pytest.raises(TypeError, match=r"^callback must be callable, got"):
            register(wrong)
    assert kettle.handlers["hot"] == ()


def test_an_unknown_option_is_refused(kettle):
    with pytest.raises(TypeError, match="'limt'"):
        kettle.on_hot(print, limt=1)
    with pytest.raises(TypeError, match="'limt'"):
        kettle.on_hot(limt=1)


def test_two_callbacks_at_once_are_refused(kettle):
    with pytest.raises(TypeError):
        kettle.on_hot(print, print)


# Emission


def test_callbacks_receive_what_is_emitted(kettle):
    seen = []
    kettle.on_hot(lambda *args, **kwargs: seen.append((args, kwargs)))
    kettle.emit(Kettle.HOT, 90.0, unit="C")
    kettle.on_hot.emit(degrees=91.0)
    kettle.emit(Kettle.HOT, event="a keyword of this name is the callbacks' own", self=1)
    assert seen == [
        ((90.0,), {"unit": "C"}),
        ((), {"degrees": 91.0}),
        ((), {"event": "a keyword of this name is the callbacks' own", "self": 1}),
    ]


def test_callbacks_are_called_in_the_order_of_registration(kettle):
    seen = []
    for number in range(10):
        kettle.on_empty(lambda number=number: seen.append(number))
    kettle.on_empty.emit()
    assert seen == list(range(10))


def test_a_callback_registered_meanwhile_is_called_from_the_next_emission_on(kettle):
    seen = []

    @kettle.on_empty(limit=1)
    def register():
        kettle.on_empty(lambda: seen.append(kettle.event_counts["empty"]))

    kettle.on_empty.emit()
    assert seen == []
    kettle.on_empty.emit()
    kettle.on_empty.emit()
    assert seen == [2, 3]


def test_a_callback_registered_meanwhile_hears_an_emission_from_within(kettle):
    seen = []

    @kettle.on_empty(limit=1)
    def register():
        kettle.on_empty(lambda: seen.append("late"))
        kettle.on_empty.emit()

    kettle.on_empty.emit()
    assert seen == ["late"]


def test_an_event_emitted_from_within_comes_before_the_callbacks_that_are_left(kettle):
    seen = []

    @kettle.on_hot
    def first(degrees):
        seen.append(("first", degrees))
        if degrees < 3:
            kettle.emit(Kettle.HOT, degrees + 1)

    kettle.on_hot(lambda degrees: seen.append(("second", degrees)))
    kettle.emit(Kettle.HOT, 1)
    assert seen == [("first", 1), ("first", 2), ("first", 3), ("second", 3), ("second", 2), ("second", 1)]


def test_emission_returns_nothing_whatever_callbacks_return(kettle):
    kettle.on_empty(lambda: "ignored")
    assert kettle.emit(Kettle.EMPTY) is None


# Callbacks that raise


def test_a_raising_callback_starves_nobody_and_its_error_arrives_as_it_is(kettle):
    error = ValueError("burnt")
    seen = []

    @kettle.on_empty
    def fail():
        raise error

    kettle.on_empty(lambda: seen.append("called all the same"))
    with pytest.raises(ValueError, match="burnt") as caught:
        kettle.emit(Kettle.EMPTY)
    assert caught.value is error
    assert seen == ["called all the same"]
    assert kettle.event_counts["empty"] == 1


def test_several_errors_arrive_as_a_group_in_order(kettle):
    for error in (ValueError("one"), KeyError("two")):

        @kettle.on_empty
        def fail(error=error):
            raise error

    with pytest.raises(ExceptionGroup, match=r"2 callbacks of 'empty' of <Kettle> raised") as caught:
        kettle.emit(Kettle.EMPTY)
    assert [type(error) for error in caught.value.exceptions] == [ValueError, KeyError]


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_an_interrupt_is_not_held_back(kettle, error):
    @kettle.on_empty
    def interrupted():
        raise error

    with pytest.raises(error):
        kettle.emit(Kettle.EMPTY)


def test_when_that_raises_is_an_error_of_its_callback(kettle):
    seen = []
    kettle.on_empty(lambda: seen.append("never"), when=lambda: 1 / 0)
    kettle.on_empty(lambda: seen.append("other"))
    with pytest.raises(ZeroDivisionError):
        kettle.emit(Kettle.EMPTY)
    assert seen == ["other"]


def test_a_callback_of_the_wrong_signature_is_an_error_and_starves_nobody(kettle):
    seen = []
    kettle.on_hot(lambda: seen.append("never"))
    kettle.on_hot(seen.append)
    with pytest.raises(TypeError, match="positional argument"):
        kettle.emit(Kettle.HOT, 9.0)
    assert seen == [9.0]


def test_a_callback_that_raises_is_not_repeated_that_time_and_its_call_counts(kettle):
    seen = []

    @kettle.on_empty(repeat=3, limit=4)
    def fail():
        seen.append(1)
        raise ValueError

    for _ in range(4):
        with pytest.raises(ValueError):  # noqa: PT011 - there is one only
            kettle.emit(Kettle.EMPTY)
    assert len(seen) == 4
    kettle.emit(Kettle.EMPTY)
    assert kettle.handlers["empty"][0].calls == 4


def test_an_async_callback_without_a_run_is_refused_in_words(kettle):
    """`filterwarnings = error` sees that the coroutine is closed, too."""
    seen = []

    @kettle.on_empty
    async def tell():
        seen.append("never")

    kettle.on_empty(lambda: seen.append("other"))
    with pytest.raises(TypeError, match=r"tell of 'empty' of <Kettle> is an 'async def' function"):
        kettle.emit(Kettle.EMPTY)
    gc.collect()
    assert seen == ["other"]


# when, every, limit, repeat


def emissions(kettle: Kettle, number: int) -> None:
    for degrees in range(number):
        kettle.emit(Kettle.HOT, degrees)


def test_repeat(kettle):
    seen = []
    kettle.on_hot(seen.append, repeat=3)
    emissions(kettle, 2)
    assert seen == [0, 0, 0, 1, 1, 1]


def test_limit(kettle):
    seen = []
    kettle.on_hot(seen.append, limit=2)
    emissions(kettle, 5)
    assert seen == [0, 1]


def test_every_includes_the_first_time(kettle):
    seen = []
    kettle.on_hot(seen.append, every=3)
    emissions(kettle, 8)
    assert seen == [0, 3, 6]


def test_when(kettle):
    seen = []
    kettle.on_hot(seen.append, when=lambda: kettle.event_counts["hot"] % 2 == 0)
    emissions(kettle, 5)
    assert seen == [1, 3]


def test_when_may_answer_with_anything_that_is_true_or_false(kettle):
    answers = iter([[], [1], 0, "yes"])
    seen = []
    kettle.on_hot(seen.append, when=lambda: next(answers))
    emissions(kettle, 4)
    assert seen == [1, 3]


def test_limit_counts_calls_not_emissions(kettle):
    seen = []
    kettle.on_hot(seen.append, repeat=3, limit=2)
    emissions(kettle, 2)
    assert seen == [0, 0]


def test_what_when_turns_down_counts_neither_for_every_nor_for_limit(kettle):
    answers = iter([False, True, False, True, True, False, True])
    seen = []
    kettle.on_hot(seen.append, when=lambda: next(answers), every=2, limit=2)
    emissions(kettle, 7)
    assert seen == [1, 4]


def test_limit_holds_although_the_callback_emits_the_event_itself(kettle):
    seen = []

    @kettle.on_hot(repeat=3, limit=4)
    def again(degrees):
        seen.append(degrees)
        kettle.emit(Kettle.HOT, degrees + 1)

    kettle.emit(Kettle.HOT, 0)
    assert seen == [0, 1, 2, 3]


def test_each_callback_counts_for_itself(kettle):
    first, second = [], []
    kettle.on_hot(first.append, every=2)
    emissions(kettle, 1)
    kettle.on_hot(second.append, every=2, limit=1)
    emissions(kettle, 3)
    assert (first, second) == ([0, 1], [0])


@given(
    answers=st.lists(st.booleans(), max_size=30),
    use_when=st.booleans(),
    every=st.integers(1, 5),
    limit=st.none() | st.integers(1, 10),
    repeat=st.integers(1, 4),
)
def test_any_combination_does_what_the_rules_say(answers, use_when, every, limit, repeat):
    passed = [number for number, answer in enumerate(answers) if answer or not use_when]
    expected = [number for number in passed[::every] for _ in range(repeat)][:limit]

    kettle = Kettle()
    asked = iter(answers)
    seen = []
    kettle.on_hot(
        seen.append, when=(lambda: next(asked)) if use_when else None, every=every, limit=limit, repeat=repeat
    )
    emissions(kettle, len(answers))
    assert seen == expected
    assert kettle.event_counts["hot"] == len(answers)
    assert kettle.handlers["hot"][0].calls == len(expected)


def test_handlers_tell_what_was_asked_for(kettle):
    always = kettle.on_hot(lambda _: None, when=lambda: True, limit=3, repeat=2, every=4)
    (handler,) = kettle.handlers["hot"]
    assert (handler.callback, handler.limit, handler.repeat, handler.every, handler.calls) == (always, 3, 2, 4, 0)


def test_a_handler_is_named_after_its_callback():
    class Callable:
        def __call__(self):
            pass

        def __repr__(self):
            return "<an object>"

    def function():
        pass

    assert Handler(function).name.endswith("function")
    assert Handler(Callable()).name == "<an object>"
    assert "function" in Handler(functools.partial(function)).name


# Events of task plugins follow the same rules


def test_events_of_a_task_plugin_are_those_of_its_class():
    class Base(TaskPlugin):
        REFUSED = Event("refused")

    class Own(Base):
        LATE = Event("late")

    class Other(Base):
        REFUSED = Event("turned-down")

    assert Own().events() == ("refused", "late")
    assert Other().events() == ("turned-down",)
    assert TaskPlugin().events() == ()
