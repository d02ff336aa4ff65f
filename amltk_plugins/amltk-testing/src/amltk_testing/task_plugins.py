"""The suite for task plugins."""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from amltk.events import Emitter, Event
from amltk.exceptions import PluginAttachedError
from amltk.plugins import plugin_manager
from amltk.scheduling import TaskPlugin
from amltk_testing.recorder import EventRecorder
from amltk_testing.suite import fail, not_applicable
from amltk_testing.task_plugin_base import TaskPluginSuite, check_factory, given

Submission = tuple[Callable[..., Any], tuple[Any, ...], Mapping[str, Any]]


class Attaching(TaskPluginSuite):
    """One object belongs to one task."""

    group: ClassVar[str] = "attaching"

    def test_the_factory_makes_fresh_plugins(self) -> None:
        """`plugin()` makes a new `TaskPlugin` each time. All other tests rest on this one."""
        check_factory(type(self))

    def test_its_name_is_that_of_its_entry_point(self) -> None:
        """What is registered under the plugin's name is its class."""
        kind = type(self.make())
        try:
            found = plugin_manager().task_plugin(kind.name)
        except Exception:  # not installed, or installed and broken, which `amltk plugins` tells
            not_applicable(f"no entry point is named {kind.name!r}")
        assert found is kind

    def test_it_is_attached_to_its_task(self) -> None:
        """`plugin.task` is the task."""
        plugin = self.make()
        task, _ = self.task(plugin)
        assert plugin.task is task
        assert task.plugins == (plugin,)

    def test_it_is_attached_once(self) -> None:
        """A second task is refused it, and `attach_task` is not called for that one."""
        plugin = self.make()
        task, _ = self.task(plugin)
        try:
            self.task(plugin)
        except PluginAttachedError:
            assert plugin.task is task
            return
        fail("a second task was given the same plugin object; `task` of an attached plugin must stay set")

    def test_two_tasks_with_a_plugin_each_do_not_disturb_each_other(self) -> None:
        """What one counts is nothing to the other."""
        first, executor = self.task(self.make())
        second = first.scheduler.task(given(type(self), "function"), plugins=self.make())
        self.run(first, lambda: [self.call(first), self.call(second)])
        if len(executor.calls) != 2:
            fail(f"of a first call to each of two tasks, {len(executor.calls)} were submitted")


class Calls(TaskPluginSuite):
    """What the plugin does to calls."""

    group: ClassVar[str] = "calls"

    def test_a_first_call_is_submitted(self) -> None:
        """And returns a future; its result comes by `on_result`."""
        task, executor = self.task(self.make())
        recorder = EventRecorder(task)
        futures: list[Any] = []

        def begin() -> None:
            futures.append(self.call(task))
            if executor.calls:
                executor.resolve(0, "the result")

        self.run(task, begin)
        if not executor.calls:
            fail("the first call was refused or answered; give other `args`, or a plugin that lets one pass")
        assert futures[0].result() == "the result"
        recorder.assert_order("on_submitted", "on_done", "on_result")

    def test_a_failed_call_is_told_as_any(self) -> None:
        """By `on_exception`, with the exception that it raised."""
        task, executor = self.task(self.make())
        recorder = EventRecorder(task)
        error = ValueError("the call failed")

        def begin() -> None:
            self.call(task)
            executor.fail(0, error)

        self.run(task, begin, on_exception="ignore")
        assert [received for _, received in recorder.received("on_exception")] == [error]

    def test_it_takes_its_place_in_the_chain(self) -> None:
        """It is asked after the plugins before it; those after it see the call as it has made it."""
        seen: list[tuple[str, Any]] = []
        task, executor = self.task(_Watch("before", seen), self.make(), _Watch("after", seen))
        self.run(task, lambda: self.call(task))
        assert [name for name, _ in seen] == ["before", "after"]
        assert seen[0][1] == (given(type(self), "function"), self.args, dict(self.kwargs))
        submitted = executor.calls[0]
        if (submitted.function, submitted.args, submitted.kwargs) != seen[1][1]:
            fail(f"the plugin after it saw {seen[1][1]}, and {submitted[1:4]} was submitted")

    def test_a_call_that_another_plugin_refuses_does_not_count(self) -> None:
        """What passes here may be refused by a later plugin: as many calls as ever are still to be had."""
        number = 5 if self.refuses_after is None else self.refuses_after
        later = _Refuse(3 * number)
        task, executor = self.task(self.make(), later)
        self.run(task, lambda: [self.call(task) for _ in range(4 * number)])
        if len(executor.calls) != number:
            fail(
                f"after {3 * number} calls that another plugin refused, {len(executor.calls)} of {number} were "
                "submitted; count calls in on_submitted, not in pre_submit"
            )

    def test_the_arguments_of_the_caller_stay_as_they_are(self) -> None:
        """`on_submitted` receives what the task was called with."""
        task, _ = self.task(self.make())
        received: list[Any] = []
        task.on_submitted(lambda _, *args, **kwargs: received.append((args, kwargs)))
        self.run(task, lambda: self.call(task))
        assert received == [(self.args, dict(self.kwargs))]

    def test_a_task_runs_again(self) -> None:
        """In a second run of its scheduler, it is there as ever."""
        task, executor = self.task(self.make())
        if self.refuses_after is not None and self.refuses_after < 2:
            not_applicable("refuses_after is less than 2")
        for times in (1, 2):
            self.run(task, lambda: self.call(task))
            assert len(executor.calls) == times
            assert not task.running()


class Refusing(TaskPluginSuite):
    """Calls that the plugin does not let pass."""

    group: ClassVar[str] = "refusal"

    def test_it_refuses_only_when_it_says_so(self) -> None:
        """`refuses_after` calls under way, or ten if that is not set, are submitted."""
        number = 10 if self.refuses_after is None else self.refuses_after
        task, executor = self.task(self.make())
        self.run(task, lambda: [self.call(task) for _ in range(number)])
        if len(executor.calls) != number:
            fail(f"{len(executor.calls)} of {number} calls were submitted; if that is meant, set refuses_after to it")

    def test_a_refused_call_is_none_and_says_why(self) -> None:
        """The caller gets None, a `Refusal` or an event of the plugin's own says why, no later plugin is asked."""
        if self.refuses_after is None:
            not_applicable("refuses_after is not set: the plugin refuses nothing")
        seen: list[tuple[str, Any]] = []
        plugin = self.make()
        task, executor = self.task(plugin, _Watch("after", seen))
        recorder = EventRecorder(task)
        returned: list[Any] = []
        number = self.refuses_after + 1
        self.run(task, lambda: returned.extend(self.call(task) for _ in range(number)))
        if returned[-1] is not None or len(executor.calls) != number - 1:
            fail(f"call {number} was not refused; refuses_after says that it is")
        assert len(seen) == number - 1
        own = {str(event) for event in plugin.events()}
        if task.refusal is None and not own & set(recorder.names):
            fail('a call was refused, and nothing said why: return Refusal("why") in pre_submit')


class Answering(TaskPluginSuite):
    """Calls that the plugin answers, so that no worker is needed."""

    group: ClassVar[str] = "answers"

    def test_it_answers_only_when_it_says_so(self) -> None:
        """`answers_after` equal calls, one after the other, go to a worker; three if that is not set."""
        number = 3 if self.answers_after is None else self.answers_after
        if self.refuses_after is not None:
            number = min(number, self.refuses_after)
        futures, executor, _ = self.calls_in_turn(number)
        if None in futures:
            not_applicable("a call was refused, which other tests look at")
        if len(executor.calls) != number:
            fail(
                f"{len(executor.calls)} of {number} equal calls, one after the other, were submitted; if the others "
                "are answered, set answers_after"
            )

    def test_an_answered_call_is_told_as_any(self) -> None:
        """Its future gets the value or exception, and the task's events come, though no worker has run it."""
        if self.answers_after is None:
            not_applicable("answers_after is not set: the plugin answers nothing")
        number = self.answers_after + 1
        futures, executor, recorder = self.calls_in_turn(number)
        if len(executor.calls) == number or futures[-1] is None:
            fail(f"call {number} was not answered; answers_after says that it is")
        assert futures[-1].done()
        recorder.assert_calls_ended_once()


class Sending(TaskPluginSuite):
    """What goes to a worker."""

    group: ClassVar[str] = "pickling"

    def test_what_it_sends_can_be_pickled(self) -> None:
        """Function and arguments, as the plugin returns them, survive pickle; the function can be called then."""
        submitted = self._submitted()
        try:
            function, _, _ = pickle.loads(pickle.dumps(submitted))
        except Exception as error:  # whatever a __reduce__ raises
            fail(
                f"what pre_submit returned can't be pickled, so no process will get it: {type(error).__name__}: {error}"
            )
        assert callable(function)

    def test_it_sends_neither_itself_nor_its_task(self) -> None:
        """Nothing that goes to a worker refers to plugin, task or scheduler."""
        found: list[object] = []

        class Look(pickle.Pickler):
            def persistent_id(self, value: object) -> str | None:
                if isinstance(value, (Emitter, TaskPlugin)):
                    found.append(value)
                    return "found"
                return None

        try:
            Look(io.BytesIO()).dump(self._submitted())
        except Exception:  # the test before this one tells
            not_applicable("it can't be pickled")
        if found:
            fail(f"what pre_submit returned refers to {found[0]!r}: wrap the function by one that knows nothing of it")

    def _submitted(self) -> tuple[Any, ...]:
        task, executor = self.task(self.make())
        self.run(task, lambda: self.call(task))
        return executor.calls[0][1:4]


class Events(TaskPluginSuite):
    """The plugin's own events."""

    group: ClassVar[str] = "events"

    def test_its_events_are_declared(self) -> None:
        """`events()` returns those of its class's attributes and more, each once; the task has them."""
        plugin = self.make()
        task, _ = self.task(plugin)
        declared = plugin.events()
        assert all(isinstance(event, Event) for event in declared)
        attributes = {value for value in vars(type(plugin)).values() if isinstance(value, Event)}
        missing = attributes - set(declared)
        if missing:
            fail(f"events() does not return {', '.join(sorted(missing))}, which the class has as attributes")
        assert set(declared) <= set(task.events)

    def test_its_events_are_documented(self) -> None:
        """Each has a description that says when it is emitted and what its callbacks receive."""
        bare = [str(event) for event in self.make().events() if "callbacks receive" not in event.description]
        if bare:
            fail(
                f"the description of {', '.join(bare)} does not say what callbacks receive, as in "
                "Event('spent', 'A call was refused; callbacks receive (task).')"
            )

    def test_its_class_is_documented(self) -> None:
        """The first line of its docstring is what `amltk plugins` shows."""
        kind = type(self.make())
        if not (vars(kind).get("__doc__") or "").strip():
            fail(f"{kind.__name__} has no docstring")


# pytest collects the last base first.
class TaskPluginTests(Events, Sending, Answering, Refusing, Calls, Attaching):
    """Tests what amltk and its users expect of a task plugin. Subclass it in a test file of yours.

    Example:
        ```python
        from amltk_testing import TaskPluginTests


        class TestMine(TaskPluginTests):
            plugin = MyPlugin
        ```

    Attributes:
        plugin: Makes a fresh plugin each time: its class, or a function.
        function: What the task calls; one of the kit's own by default.
        args: What it is called with.
        kwargs: Likewise.
        refuses_after: Number of calls under way that are accepted before the next is refused; None if none is.
        answers_after: Number of equal calls in a row that go to a worker before the next is answered; None if none is.
        seconds: How long a run of a test may take.
    """


class _Watch(TaskPlugin):
    """Records the calls that it is asked about."""

    def __init__(self, label: str, seen: list[tuple[str, Any]]) -> None:
        self._label = label
        self._seen = seen

    def pre_submit(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Submission:
        self._seen.append((self._label, (function, args, kwargs)))
        return function, args, kwargs


class _Refuse(TaskPlugin):
    """Refuses the first calls."""

    def __init__(self, number: int) -> None:
        self._left = number

    def pre_submit(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Submission | None:
        self._left -= 1
        return None if self._left >= 0 else (function, args, kwargs)
