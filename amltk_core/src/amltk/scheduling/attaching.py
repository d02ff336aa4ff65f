"""Attaches plugins to a task or a scheduler."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from amltk.events import callbacks_of_plugin
from amltk.exceptions import PluginAttachedError, SchedulerAlreadyRunningError
from amltk.scheduling.call_plugin import hears_of_ends
from amltk.scheduling.scheduler_plugin import SchedulerPlugin
from amltk.scheduling.task_plugin import TaskPlugin

if TYPE_CHECKING:
    from amltk.scheduling.scheduler import Scheduler
    from amltk.scheduling.task import Task


def task_plugins(plugins: TaskPlugin | Iterable[TaskPlugin]) -> tuple[TaskPlugin, ...]:
    """Return the argument `plugins=` as a tuple.

    Raises:
        TypeError: An element is not a `TaskPlugin`.
    """
    if isinstance(plugins, TaskPlugin):
        return (plugins,)
    try:
        listed = (plugins,) if isinstance(plugins, str) else tuple(plugins)
    except TypeError:
        listed = (plugins,)  # type: ignore[assignment] # refused below
    for plugin in listed:
        if not isinstance(plugin, TaskPlugin):
            kind = type(plugin).__name__
            msg = f"plugins must be a TaskPlugin or several of them, got {plugin!r} of type {kind}."
            if isinstance(plugin, SchedulerPlugin):
                msg += " A plugin of the scheduler is added by scheduler.add_plugin(...)."
            raise TypeError(msg + _make_an_object(plugin))
    return listed


def attach_to_task(task: Task[..., Any]) -> None:
    """Attach the plugins of a new task: all of them, or none.

    Raises:
        PluginAttachedError: A plugin is attached to another task.
        DuplicateEventError: Two plugins bring an event of the same name.
    """
    try:
        for plugin in task.plugins:
            _attach_to_task(task, plugin)
    except BaseException:
        for plugin in task.plugins:  # another task may take them
            if plugin.task is task:
                plugin.task = None
        raise
    if any(hears_of_ends(plugin) for plugin in task.plugins):
        task.scheduler.expect_deliveries()


def _attach_to_task(task: Task[..., Any], plugin: TaskPlugin) -> None:
    if plugin.task is not None:
        raise PluginAttachedError(_attached(plugin, plugin.task, task, "task"))
    task.add_event(*plugin.events())
    plugin.task = task
    with callbacks_of_plugin():
        plugin.attach_task(task)


def attach_to_scheduler(scheduler: Scheduler, plugin: SchedulerPlugin) -> None:
    """Attach a plugin to a scheduler; change nothing if that fails.

    Raises:
        TypeError: It is not a `SchedulerPlugin`.
        PluginAttachedError: It is attached to a scheduler already.
        SchedulerAlreadyRunningError: The scheduler is running.
        DuplicateEventError: The scheduler has an event of one of its names.
    """
    if not isinstance(plugin, SchedulerPlugin):
        msg = f"plugin must be a SchedulerPlugin, got {plugin!r} of type {type(plugin).__name__}."
        if isinstance(plugin, TaskPlugin):
            msg += " A plugin of a task is given when that is made: scheduler.task(function, plugins=...)."
        raise TypeError(msg + _make_an_object(plugin))
    if plugin.scheduler is not None:
        raise PluginAttachedError(_attached(plugin, plugin.scheduler, scheduler, "scheduler"))
    if scheduler.current_run is not None:
        msg = f"{scheduler!r} is running; add {type(plugin).__name__} before run(), so that it sees every call."
        raise SchedulerAlreadyRunningError(msg)
    with _unchanged_if_it_fails(scheduler):
        scheduler.add_event(*plugin.events())
        plugin.scheduler = scheduler
        try:
            with callbacks_of_plugin():
                plugin.attach_scheduler(scheduler)
        except BaseException:
            plugin.scheduler = None
            raise
    scheduler.plugins = (*scheduler.plugins, plugin)
    if hears_of_ends(plugin):
        scheduler.expect_deliveries()


@contextmanager
def _unchanged_if_it_fails(scheduler: Scheduler) -> Iterator[None]:
    states = {event: replace(state) for event, state in scheduler._states.items()}
    try:
        yield
    except BaseException:
        scheduler._states = states
        raise


def _attached(plugin: object, owner: object, other: object, kind: str) -> str:
    name = type(plugin).__name__
    if owner is other:
        return f"{name} is attached to {owner!r} already; once is enough."
    return (
        f"{name} is attached to {owner!r} already, and what it counts is counted for one {kind}. "
        f"Make a new {name}(...) for {other!r}."
    )


def _make_an_object(plugin: object) -> str:
    return " Make an object of it: add '()'." if isinstance(plugin, type) else ""
