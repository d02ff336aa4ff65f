"""The kinds of plugins that are classes: backends, task plugins and scheduler plugins."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from amltk import hookspecs
from amltk.backend import Backend
from amltk.exceptions import (
    BackendError,
    BackendNotInstalledError,
    BrokenBackendError,
    BrokenPluginError,
    PluginError,
    PluginNotInstalledError,
    UnknownBackendError,
)
from amltk.plugins.catalog import KNOWN_BACKENDS, KNOWN_TASK_PLUGINS
from amltk.plugins.entry_points import BACKENDS, OBSERVERS, SCHEDULER_PLUGINS, TASK_PLUGINS
from amltk.scheduling.scheduler_plugin import SchedulerPlugin
from amltk.scheduling.task_plugin import TaskPlugin

T = TypeVar("T")


@dataclass
class PluginKind(Generic[T]):
    """One kind of plugin, and the classes of it that are loaded.

    Attributes:
        noun: Its name in messages.
        group: Its group of entry points.
        base: The class from which each plugin derives.
        base_name: The name under which authors import that class.
        command: The command that lists all plugins of this kind.
        known: The plugins of this project: the distribution of each, by name.
        error: Raised for a disabled plugin.
        unknown: Raised for a name that no plugin has.
        missing: Raised for a plugin of this project that is not installed.
        broken: Raised for a plugin that fails to load.
        loaded: The loaded and the registered classes, by name.
    """

    noun: str
    group: str
    base: type
    base_name: str
    command: str
    known: Mapping[str, str]
    error: type[Exception]
    unknown: type[Exception]
    missing: type[Exception]
    broken: type[Exception]
    loaded: dict[str, type[T]] = field(default_factory=dict)


def backends() -> PluginKind[Backend]:
    """Return the kind of the backends; none is loaded yet."""
    return PluginKind(
        noun="backend",
        group=BACKENDS,
        base=Backend,
        base_name="amltk.backend.Backend",
        command="amltk backends",
        known=KNOWN_BACKENDS,
        error=BackendError,
        unknown=UnknownBackendError,
        missing=BackendNotInstalledError,
        broken=BrokenBackendError,
    )


def task_plugins() -> PluginKind[TaskPlugin]:
    """Return the kind of the task plugins; none is loaded yet."""
    return _plugins("task plugin", TASK_PLUGINS, TaskPlugin, KNOWN_TASK_PLUGINS)


def scheduler_plugins() -> PluginKind[SchedulerPlugin]:
    """Return the kind of the scheduler plugins; none is loaded yet."""
    return _plugins("scheduler plugin", SCHEDULER_PLUGINS, SchedulerPlugin, {})


def _plugins(noun: str, group: str, base: type[T], known: Mapping[str, str]) -> PluginKind[T]:
    return PluginKind(
        noun=noun,
        group=group,
        base=base,
        base_name=f"amltk.{base.__name__}",
        command="amltk plugins",
        known=known,
        error=PluginError,
        unknown=PluginError,
        missing=PluginNotInstalledError,
        broken=BrokenPluginError,
    )


_GROUP_OF_BASE: Mapping[type, str] = {
    Backend: BACKENDS,
    TaskPlugin: TASK_PLUGINS,
    SchedulerPlugin: SCHEDULER_PLUGINS,
}


def group_of(value: object) -> str | None:
    """Return the group of entry points to which an object belongs; None if that is unclear."""
    if isinstance(value, type):
        return next((group for base, group in _GROUP_OF_BASE.items() if issubclass(value, base)), None)
    hooks = [name for name in dir(value) if name.startswith("amltk_") and hasattr(hookspecs, name)]
    return OBSERVERS if hooks else None
