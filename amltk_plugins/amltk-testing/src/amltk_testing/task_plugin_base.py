"""What the suite for task plugins is made of: its attributes, and how its tests make calls."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import pytest

from amltk.scheduling import ExitState, Scheduler, Task, TaskPlugin
from amltk_testing import calls
from amltk_testing.manual import ManualExecutor
from amltk_testing.recorder import EventRecorder
from amltk_testing.suite import Suite, fail, within


class TaskPluginSuite(Suite):
    """Attributes that the author of a plugin sets, and methods that the tests use."""

    plugin: ClassVar[Callable[[], TaskPlugin]]
    function: ClassVar[Callable[..., Any]] = calls.add
    args: ClassVar[tuple[Any, ...]] = (1,)
    kwargs: ClassVar[Mapping[str, Any]] = {}
    refuses_after: ClassVar[int | None] = None
    answers_after: ClassVar[int | None] = None

    @classmethod
    def subject(cls) -> str:
        """Return the plugin's name."""
        plugin = given(cls, "plugin")
        if plugin is None:
            return cls.__name__
        return getattr(plugin, "name", "") or (type(cls.make()).name if has_plugins(cls) else cls.__name__)

    @classmethod
    def make(cls) -> TaskPlugin:
        """Return a fresh plugin."""
        plugin = given(cls, "plugin")
        if not callable(plugin):
            fail(f"{cls.__name__}.plugin must be a class or a function, as in plugin = MyPlugin, got {plugin!r}")
        return plugin()  # type: ignore[no-any-return]

    @classmethod
    def blocked(cls, name: str) -> str | None:
        """Return the test that all others rest on, if it fails."""
        first = "test_the_factory_makes_fresh_plugins"
        return None if name == first or has_plugins(cls) else first

    def task(self, *plugins: TaskPlugin) -> tuple[Task[..., Any], ManualExecutor]:
        """Return a task with these plugins, and the executor of its scheduler."""
        executor = ManualExecutor()
        return Scheduler(executor).task(given(type(self), "function"), plugins=plugins), executor

    def call(self, task: Task[..., Any]) -> Any:
        """Submit a call."""
        return task(*self.args, **self.kwargs)

    def calls_in_turn(self, number: int) -> tuple[list[Any], ManualExecutor, EventRecorder]:
        """Have equal calls made, each when the one before it has ended; return futures, executor and events."""
        task, executor = self.task(self.make())
        recorder = EventRecorder(task.scheduler, task)
        futures: list[Any] = []

        def next_call(*_: object) -> None:
            if len(futures) < number:
                submitted = len(executor.calls)
                futures.append(self.call(task))
                if len(executor.calls) > submitted:
                    executor.resolve(submitted, "the result")

        task.scheduler.on_start(next_call)
        task.on_done(next_call)
        within(self.seconds, "run()", task.scheduler.run)
        return futures, executor, recorder

    def run(self, task: Task[..., Any], begin: Callable[[], Any], **options: Any) -> ExitState:
        """Run the task's scheduler: `begin`, and stop, which cancels what is left; what goes wrong is raised."""
        scheduler = task.scheduler
        scheduler.on_start(begin, limit=1)
        scheduler.on_start(lambda: scheduler.call_later(0, scheduler.stop), limit=1)
        return within(self.seconds, "run()", lambda: scheduler.run(wait=False, **options))


def given(cls: type, name: str) -> Any:
    """Return an attribute as it was written: a function is not to become a method."""
    value = inspect.getattr_static(cls, name, None)
    return value.__func__ if isinstance(value, staticmethod) else value


def has_plugins(cls: type[TaskPluginSuite]) -> bool:
    """Return whether the factory makes fresh plugins."""
    try:
        check_factory(cls)
    except (Exception, pytest.fail.Exception):  # told by the test of it
        return False
    return True


def check_factory(cls: type[TaskPluginSuite]) -> None:
    """Check that the factory makes fresh plugins."""
    one, other = cls.make(), cls.make()
    for each in (one, other):
        if not isinstance(each, TaskPlugin):
            fail(f"plugin() returned {each!r} of type {type(each).__name__}, which is no amltk.TaskPlugin")
    if one is other:
        fail("plugin() returned the same object twice; it has to make a new one each time")
    if one.task is not None:
        fail("plugin() returned an object that is attached already")
