"""Loads plugins one by one, on first use of their names, and remembers why one failed.

A plugin that fails to load affects nothing else: its error is kept, and raised or listed when that plugin is used.
"""

from __future__ import annotations

import functools
import logging
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from amltk.backend import Backend, check_backend
from amltk.checks import check_callable, check_type, did_you_mean
from amltk.events import emitter
from amltk.exceptions import BrokenPluginError, PluginError
from amltk.plugins import kinds
from amltk.plugins.catalog import how_to_install, is_ours
from amltk.plugins.checking import RefusedPluginError, check_contract, check_group, only_entry, reason_of
from amltk.plugins.entry_points import (
    COMMANDS,
    KINDS,
    OBSERVERS,
    EntryPoint,
    InstalledEntryPoints,
    line_of,
    origin,
    version_of,
)
from amltk.plugins.hooks import Hooks
from amltk.plugins.kinds import PluginKind, group_of
from amltk.scheduling.scheduler_plugin import SchedulerPlugin
from amltk.scheduling.task_plugin import TaskPlugin

T = TypeVar("T")

logger = logging.getLogger("amltk")

DISABLE = "AMLTK_DISABLE_PLUGINS"
"""The environment variable with the names, separated by commas, of plugins that are not loaded."""


class PluginManager:
    """All plugins of this process. `plugin_manager()` returns the one manager.

    Attributes:
        hooks: The registered observers, and a method that calls each hook.
        backends: The backends that are loaded.
        task_plugins: The task plugins that are loaded.
        scheduler_plugins: The scheduler plugins that are loaded.
    """

    def __init__(self) -> None:
        """Load nothing yet."""
        self.hooks = Hooks()
        self.backends = kinds.backends()
        self.task_plugins = kinds.task_plugins()
        self.scheduler_plugins = kinds.scheduler_plugins()
        self._kinds: dict[str, PluginKind[Any]] = {
            kind.group: kind for kind in (self.backends, self.task_plugins, self.scheduler_plugins)
        }
        self._failures: dict[tuple[str, str], BaseException | None] = {}
        self._observers_loaded = False
        self._commands: dict[str, Callable[[Sequence[str]], int]] = {}

    @functools.cached_property
    def entry_points(self) -> InstalledEntryPoints:
        """The entry points of all installed distributions, read on first use."""
        return InstalledEntryPoints()

    def installed(self, group: str) -> Mapping[str, tuple[EntryPoint, ...]]:
        """Return the entry points of a group by their names, loading none."""
        return self.entry_points.group(group)

    # Backends, task plugins, scheduler plugins

    def backend(self, name: str) -> type[Backend]:
        """Return the class of the backend of that name; loads its module.

        Raises:
            UnknownBackendError: There is no backend of that name.
            BackendNotInstalledError: It is known, but its distribution is not installed.
            BrokenBackendError: It is installed, but fails to load.
            BackendError: It is disabled by `AMLTK_DISABLE_PLUGINS`.
        """
        return self._find(self.backends, name)

    def task_plugin(self, name: str) -> type[TaskPlugin]:
        """Return the class of the task plugin of that name; loads its module.

        Raises:
            PluginNotInstalledError: It is known, but its distribution is not installed.
            BrokenPluginError: It is installed, but fails to load.
            PluginError: There is no task plugin of that name, or it is disabled by `AMLTK_DISABLE_PLUGINS`.
        """
        return self._find(self.task_plugins, name)

    def scheduler_plugin(self, name: str) -> type[SchedulerPlugin]:
        """Return the class of the scheduler plugin of that name; loads its module.

        Raises:
            BrokenPluginError: It is installed, but fails to load.
            PluginError: There is no scheduler plugin of that name, or it is disabled by `AMLTK_DISABLE_PLUGINS`.
        """
        return self._find(self.scheduler_plugins, name)

    def names(self, kind: PluginKind[Any]) -> list[str]:
        """Return the names of the installed and registered plugins of a kind, loading none."""
        return sorted({*kind.loaded, *self.installed(kind.group)} - disabled())

    def backend_names(self) -> list[str]:
        """Return the names of the installed backends, loading none."""
        return [name for name in self.names(self.backends) if name.isidentifier()]

    def register(self, plugin: object, name: str | None = None) -> None:
        """Register a plugin that is not installed: a class of backends or plugins, or a module or object with hooks.

        Raises:
            BrokenPluginError: It has no hook, a misspelled one, or one with arguments that the hook doesn't have; or
                the class can't be used, or its name is taken.
        """
        name = name or getattr(plugin, "__name__", None) or repr(plugin)
        group = group_of(plugin)
        try:
            if isinstance(plugin, type) and group in self._kinds:
                self._add(self._kinds[group], plugin, f"{plugin.__module__}:{plugin.__qualname__}")
            else:
                self.hooks.register(plugin, name)
        except Exception as error:
            msg = f"The plugin {name} is broken: {reason_of(error)}"
            raise BrokenPluginError(msg) from error

    def _find(self, kind: PluginKind[T], name: str) -> type[T]:
        check_type("name", name, str)
        if name in disabled():
            msg = f"The {kind.noun} {name!r} is disabled: the environment variable {DISABLE} lists it. Remove it there."
            raise kind.error(msg)
        found = self.installed(kind.group).get(name)
        if found and name not in kind.loaded and (failure := self.load(kind.group, name, found)):
            msg = f"The {kind.noun} {name!r} of {origin(found)} is broken: {reason_of(failure)}"
            raise kind.broken(msg) from failure
        if name in kind.loaded:
            return kind.loaded[name]
        if name in kind.known:
            msg = f"The {kind.noun} {name!r} is not installed. Install it: {how_to_install(kind.known[name])}"
            raise kind.missing(msg)
        installed = self.names(kind)
        msg = (
            f"There is no {kind.noun} {name!r}.{did_you_mean(name, [*installed, *kind.known])}"
            f"{self._elsewhere(kind.group, name)} "
            f"Installed: {', '.join(installed) or 'none'}. All about them: {kind.command}"
        )
        raise kind.unknown(msg)

    def _elsewhere(self, wanted: str, name: str) -> str:
        """Return a sentence with another group of entry points that has the name, or nothing."""
        for group in (*KINDS, *self.entry_points.unread_groups()):
            if group != wanted and (found := self.installed(group).get(name)):
                if group in KINDS:
                    return f" {origin(found)} brings {KINDS[group]} of that name."
                fix = line_of(wanted, name, found[0].value)
                return f" {origin(found)} brings it in the group {group!r} of entry points, which is not read: {fix}"
        distribution = f"amltk-{name.replace('_', '-')}"
        if is_ours(distribution) or (version := version_of(distribution)) is None:
            return ""
        line = line_of(wanted, name, f"amltk_{name}.plugin:Class")
        return (
            f" {distribution} {version} is installed, and has no entry point of that name: write {line} in its "
            "pyproject.toml, and install it again."
        )

    # Observers and commands

    def load_observers(self) -> None:
        """Load all observers, once; a broken one is reported in the log."""
        if self._observers_loaded:
            return
        self._observers_loaded = True
        for name, found in self.installed(OBSERVERS).items():
            if name not in disabled() and (failure := self.load(OBSERVERS, name, found)):
                logger.warning("The plugin %r of %s is not used: %s", name, origin(found), reason_of(failure))

    def command_names(self) -> list[str]:
        """Return the names of the commands that installed distributions add to `amltk`, loading none."""
        return sorted(self.installed(COMMANDS).keys() - disabled())

    def command(self, name: str) -> Callable[[Sequence[str]], int]:
        """Return a command that a distribution adds: a function of the words that follow its name.

        Raises:
            PluginError: There is no command of that name.
            BrokenPluginError: It fails to load, or two distributions bring it.
        """
        if name not in self.command_names():
            msg = f"There is no command {name!r}.{did_you_mean(name, self.command_names())}"
            raise PluginError(msg)
        found = self.installed(COMMANDS)[name]
        if failure := self.load(COMMANDS, name, found):
            msg = f"The command {name!r} of {origin(found)} is broken: {reason_of(failure)}"
            raise BrokenPluginError(msg) from failure
        return self._commands[name]

    # Loading

    def load(self, group: str, name: str, found: tuple[EntryPoint, ...]) -> BaseException | None:
        """Load a plugin, once; return the error if that fails."""
        key = group, name
        if key not in self._failures:
            try:
                self._load(group, name, found)
            except (Exception, SystemExit) as error:  # any module may raise anything on import
                self._failures[key] = error
            else:
                self._failures[key] = None
        return self._failures[key]

    def _load(self, group: str, name: str, found: tuple[EntryPoint, ...]) -> None:
        entry = only_entry(found)
        value = entry.load()
        check_group(entry, value)
        if group == COMMANDS:
            check_callable(entry.value, value)
            self._commands[name] = value
        elif group == OBSERVERS:
            self.hooks.register(value, f"{name!r} of {origin(found)} ({group})")
        else:
            check_contract(sys.modules.get(entry.module))  # the module may only import the class
            self._add(self._kinds[group], value, entry.value, name)

    def _add(self, kind: PluginKind[Any], value: Any, place: str, wanted: str | None = None) -> None:
        """Add a loaded class; for an entry point, the class must have its name, `wanted`."""
        check_contract(value)
        if not (isinstance(value, type) and issubclass(value, kind.base)):
            msg = f"{place} is {value!r} of type {type(value).__name__}, which is not a subclass of {kind.base_name}"
            raise RefusedPluginError(msg)
        if issubclass(value, Backend):
            check_backend(value)
        name = getattr(value, "name", "") or value.__name__
        if wanted is not None and name != wanted:
            msg = f"{place} has the name {name!r}, and its entry point the name {wanted!r}; give both the same"
            raise RefusedPluginError(msg)
        if kind.loaded.get(name) is value:
            return
        owners = self.installed(kind.group).get(name, ())
        if owners and place not in [owner.value for owner in owners]:
            msg = f"its name {name!r} belongs to {origin(owners)}"
            raise RefusedPluginError(msg)
        if name in kind.loaded:
            msg = f"a {kind.noun} {name!r} is registered already"
            raise RefusedPluginError(msg)
        kind.loaded[name] = value


@functools.cache
def plugin_manager() -> PluginManager:
    """Return the plugins of this process."""
    return PluginManager()


def reset_plugins() -> None:
    """Forget all loaded plugins: the next use reads again what is installed. For tests that change that."""
    plugin_manager.cache_clear()
    emitter.observer = None


def disabled() -> set[str]:
    """Return the names of the plugins that `AMLTK_DISABLE_PLUGINS` disables."""
    return {name.strip() for name in os.environ.get(DISABLE, "").split(",")} - {""}
