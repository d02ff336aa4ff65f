"""Loads, lists and blocks plugins, and remembers what failed and why.

pluggy holds the implementations; what it does by itself is not what our users need (it stops at
the first broken plugin, calls the last-registered first, lets one that raises silence the others,
and takes a misspelled hook without a word), so loading and calling are done here, one by one.
"""

from __future__ import annotations

import functools
import logging
import os
import sys
import types
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.metadata import EntryPoint
from typing import Any, Generic, Literal, TypeVar

import pluggy

from amltk import hookspecs
from amltk.backend import Backend, check_backend
from amltk.checks import check_callable, check_type, did_you_mean
from amltk.events import Emitter, Event, callbacks_of_plugin, emitter
from amltk.exceptions import (
    BackendError,
    BackendNotInstalledError,
    BrokenBackendError,
    BrokenPluginError,
    PluginError,
    PluginNotInstalledError,
    UnknownBackendError,
)
from amltk.installed import (
    BACKENDS,
    COMMANDS,
    KINDS,
    OBSERVERS,
    SCHEDULER_PLUGINS,
    TASK_PLUGINS,
    Installed,
    MalformedEntryPoint,
    distribution_of,
    line_of,
    origin,
)
from amltk.known import KNOWN_BACKENDS, KNOWN_TASK_PLUGINS, how_to_install
from amltk.scheduling.scheduler_plugin import SchedulerPlugin
from amltk.scheduling.task_plugin import TaskPlugin

T = TypeVar("T")

logger = logging.getLogger("amltk")

DISABLE = "AMLTK_DISABLE_PLUGINS"

Status = Literal["ready", "unavailable", "not installed", "broken", "disabled"]


@dataclass(frozen=True)
class Listing:
    """What is known of a backend or plugin: a row of `amltk backends` or `amltk plugins`.

    Attributes:
        name: Its name.
        status: "ready"; "unavailable", if it can't run on this system; "not installed", if we only know of it;
            "broken" or "disabled".
        distribution: What brings it, and its version where it is installed.
        summary: One line about it.
        reason: Why it can't be used and what mends that; empty when it can.
        backend: Its class, if it is a backend that could be loaded.
    """

    name: str
    status: Status
    distribution: str
    version: str
    summary: str = ""
    reason: str = ""
    backend: type[Backend] | None = None


@dataclass
class _Shelf(Generic[T]):
    """The plugins of one kind that are loaded, and what this kind has of its own."""

    noun: str
    group: str
    what: str
    fits: Callable[[object], bool]
    command: str
    known: Mapping[str, str]
    error: type[Exception]
    unknown: type[Exception]
    missing: type[Exception]
    broken: type[Exception]
    ready: dict[str, T] = field(default_factory=dict)


class _Refused(Exception):  # noqa: N818 - never leaves this module
    """A plugin can't be used; the text says why."""


class _Misplaced(_Refused):
    """An entry point is in a group that is not its own; the text says which is."""


class Plugins:
    """All plugins of this process. `plugin_manager()` returns the one object of it."""

    def __init__(self) -> None:
        """Know of what is installed; load nothing."""
        self._pluggy = pluggy.PluginManager(hookspecs.PROJECT)
        self._pluggy.add_hookspecs(hookspecs)
        self._backends: _Shelf[type[Backend]] = _Shelf(
            noun="backend",
            group=BACKENDS,
            what="a subclass of amltk.backend.Backend",
            fits=lambda value: isinstance(value, type) and issubclass(value, Backend),
            command="amltk backends",
            known=KNOWN_BACKENDS,
            error=BackendError,
            unknown=UnknownBackendError,
            missing=BackendNotInstalledError,
            broken=BrokenBackendError,
        )
        self._task_plugins: _Shelf[type[TaskPlugin]] = _Shelf(
            noun="task plugin",
            group=TASK_PLUGINS,
            what="a subclass of amltk.TaskPlugin",
            fits=lambda value: isinstance(value, type) and issubclass(value, TaskPlugin),
            command="amltk plugins",
            known=KNOWN_TASK_PLUGINS,
            error=PluginError,
            unknown=PluginError,
            missing=PluginNotInstalledError,
            broken=BrokenPluginError,
        )
        self._scheduler_plugins: _Shelf[type[SchedulerPlugin]] = _Shelf(
            noun="scheduler plugin",
            group=SCHEDULER_PLUGINS,
            what="a subclass of amltk.SchedulerPlugin",
            fits=lambda value: isinstance(value, type) and issubclass(value, SchedulerPlugin),
            command="amltk plugins",
            known={},
            error=PluginError,
            unknown=PluginError,
            missing=PluginNotInstalledError,
            broken=BrokenPluginError,
        )
        self._shelves: dict[str, _Shelf[Any]] = {
            shelf.group: shelf for shelf in (self._backends, self._task_plugins, self._scheduler_plugins)
        }
        self._failures: dict[tuple[str, str], BaseException | None] = {}
        self._observers_loaded = False
        self._commands: dict[str, Callable[[Sequence[str]], int]] = {}

    # Asking for one

    def backend(self, name: str) -> type[Backend]:
        """Return the class of the backend of that name, which loads its module.

        Raises:
            UnknownBackendError: There is none of that name.
            BackendNotInstalledError: It is known, but its distribution is not installed.
            BrokenBackendError: It is installed, but fails to load.
            BackendError: It is disabled by `AMLTK_DISABLE_PLUGINS`.
        """
        return self._find(self._backends, name)

    def task_plugin(self, name: str) -> type[TaskPlugin]:
        """Return the class of the task plugin of that name, which loads its module.

        Raises:
            PluginNotInstalledError: It is known, but its distribution is not installed.
            BrokenPluginError: It is installed, but fails to load.
            PluginError: There is none of that name, or it is disabled by `AMLTK_DISABLE_PLUGINS`.
        """
        return self._find(self._task_plugins, name)

    def scheduler_plugin(self, name: str) -> type[SchedulerPlugin]:
        """Return the class of the scheduler plugin of that name, which loads its module.

        Raises:
            BrokenPluginError: It is installed, but fails to load.
            PluginError: There is none of that name, or it is disabled by `AMLTK_DISABLE_PLUGINS`.
        """
        return self._find(self._scheduler_plugins, name)

    def register(self, plugin: object, name: str | None = None) -> None:
        """Take a plugin that is not installed: a class of backends or plugins, or a module or object with hooks.

        Raises:
            BrokenPluginError: It has no hook, one that is misspelled, or one with arguments that the
                hook doesn't have; or the class can't be used, or its name is taken.
        """
        name = name or getattr(plugin, "__name__", None) or repr(plugin)
        group = _group_of(plugin)
        try:
            if isinstance(plugin, type) and group in self._shelves:
                self._take(self._shelves[group], plugin, f"{plugin.__module__}:{plugin.__qualname__}")
            else:
                self._register(plugin, name)
        except Exception as error:
            msg = f"The plugin {name} is broken: {_reason(error)}"
            raise BrokenPluginError(msg) from error

    def _find(self, shelf: _Shelf[T], name: str) -> T:
        check_type("name", name, str)
        if name in _disabled():
            msg = f"The {shelf.noun} {name!r} is disabled: the environment variable {DISABLE} lists it. Take it out."
            raise shelf.error(msg)
        found = self.installed(shelf.group).get(name)
        if found and name not in shelf.ready and (failure := self._load(shelf.group, name, found)):
            msg = f"The {shelf.noun} {name!r} of {origin(found)} is broken: {_reason(failure)}"
            raise shelf.broken(msg) from failure
        if name in shelf.ready:
            return shelf.ready[name]
        if name in shelf.known:
            msg = f"The {shelf.noun} {name!r} is not installed. Install it: {how_to_install(shelf.known[name])}"
            raise shelf.missing(msg)
        installed = self._names(shelf)
        msg = (
            f"There is no {shelf.noun} {name!r}.{did_you_mean(name, [*installed, *shelf.known])}"
            f"{self._elsewhere(shelf.group, name)} "
            f"Installed: {', '.join(installed) or 'none'}. All about them: {shelf.command}"
        )
        raise shelf.unknown(msg)

    def _elsewhere(self, wanted: str, name: str) -> str:
        """Say in which other groups of entry points a name is, as a sentence; nothing if it is in none."""
        for group in (*KINDS, *self._installed.unread_groups()):
            if group != wanted and (found := self.installed(group).get(name)):
                if group in KINDS:
                    return f" {origin(found)} brings {KINDS[group]} of that name."
                fix = line_of(wanted, name, found[0].value)
                return f" {origin(found)} brings it in the group {group!r} of entry points, which is not read: {fix}"
        return ""

    # Observers

    def load_observers(self) -> None:
        """Load the modules that only watch; a broken one is reported in the log, once."""
        if self._observers_loaded:
            return
        self._observers_loaded = True
        for name, found in self.installed(OBSERVERS).items():
            if name not in _disabled() and (failure := self._load(OBSERVERS, name, found)):
                logger.warning("The plugin %r of %s is not used: %s", name, origin(found), _reason(failure))

    def notify(self, hook: str, **arguments: Any) -> None:
        """Call the implementations of a hook in the order of loading; one that raises is reported, no more."""
        for implementation in _in_order(getattr(self._pluggy.hook, hook).get_hookimpls()):
            try:
                with callbacks_of_plugin():
                    implementation.function(*[arguments[name] for name in implementation.argnames])
            except Exception:
                logger.exception("The plugin %s raised in its hook %s; going on.", implementation.plugin_name, hook)

    def _event_emitted(
        self, emitter: Emitter, event: Event[...], args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> None:
        self.notify("amltk_event_emitted", emitter=emitter, event=event, args=args, kwargs=kwargs)

    # Commands

    def command_names(self) -> list[str]:
        """Return the names of the commands that installed distributions add to `amltk`, loading none."""
        return sorted(self.installed(COMMANDS).keys() - _disabled())

    def command(self, name: str) -> Callable[[Sequence[str]], int]:
        """Return a command that a distribution adds: a function of the words that follow its name.

        Raises:
            PluginError: There is none of that name.
            BrokenPluginError: It fails to load, or two distributions bring it.
        """
        if name not in self.command_names():
            msg = f"There is no command {name!r}.{did_you_mean(name, self.command_names())}"
            raise PluginError(msg)
        found = self.installed(COMMANDS)[name]
        if failure := self._load(COMMANDS, name, found):
            msg = f"The command {name!r} of {origin(found)} is broken: {_reason(failure)}"
            raise BrokenPluginError(msg) from failure
        return self._commands[name]

    # Listing

    def backend_names(self) -> list[str]:
        """Return the names of the installed backends, loading none."""
        return [name for name in self._names(self._backends) if name.isidentifier()]

    def list_backends(self) -> list[Listing]:
        """Return what is known of each backend; loads the modules of the installed ones, but not what they wrap."""
        return [
            _described(row, self._backends.ready[row.name]) if row.status == "ready" else row
            for row in self._rows(self._backends)
        ]

    def list_plugins(self) -> list[Listing]:
        """Return what is known of each plugin and observer; loads the modules of the installed ones."""
        rows = []
        for shelf in (self._task_plugins, self._scheduler_plugins):
            for row in self._rows(shelf):
                about = _first_line(shelf.ready[row.name].__doc__) if row.status == "ready" else ""
                rows.append(replace(row, summary=about))
        for name, found in sorted(self.installed(OBSERVERS).items()):
            rows.append(replace(self._row(OBSERVERS, name, found), summary="observes"))
        return [*rows, *self.list_misplaced(BACKENDS)]

    def list_misplaced(self, *groups: str) -> list[Listing]:
        """Return what is in a group of entry points that is not its own, with what to write instead.

        It loads what it finds.

        Args:
            *groups: Of the groups that are read, those to look through. The groups that look like ours and are
                not are always looked through.
        """
        rows = [
            row
            for group in groups
            for name, found in sorted(self.installed(group).items())
            if not _is_ours(name, found)
            and (row := self._row(group, name, found)).status == "broken"
            and isinstance(self._failures[group, name], _Misplaced)
        ]
        for group in self._installed.unread_groups():
            rows += [self._row(group, name, found) for name, found in sorted(self.installed(group).items())]
        return rows

    def may_be_misplaced(self) -> Mapping[str, str]:
        """Return names of what is, or may be, in a wrong group, and what is known of each; loads nothing."""
        found = {
            name: ""
            for group in KINDS
            for name, entries in self.installed(group).items()
            if group not in {BACKENDS, COMMANDS} and not _is_ours(name, entries)
        }
        for group in self._installed.unread_groups():
            found |= dict.fromkeys(self.installed(group), _unread(group))
        return {name: reason for name, reason in found.items() if name not in _disabled()}

    def _names(self, shelf: _Shelf[Any]) -> list[str]:
        return sorted({*shelf.ready, *self.installed(shelf.group)} - _disabled())

    def _rows(self, shelf: _Shelf[Any]) -> list[Listing]:
        installed = self.installed(shelf.group)
        rows = [self._row(shelf.group, name, found) for name, found in sorted(installed.items())]
        rows += [
            Listing(name, "ready", "(registered by the program)", "") for name in shelf.ready if name not in installed
        ]
        rows += [
            Listing(name, "not installed", distribution, "", reason=how_to_install(distribution))
            for name, distribution in shelf.known.items()
            if name not in installed and name not in shelf.ready
        ]
        return rows

    def _row(self, group: str, name: str, found: tuple[EntryPoint, ...]) -> Listing:
        distribution = ", ".join(sorted({distribution_of(entry)[0] for entry in found}))
        version = ", ".join(sorted({distribution_of(entry)[1] for entry in found}))
        if name in _disabled():
            return Listing(name, "disabled", distribution, version, reason=f"{DISABLE} lists it")
        failure = self._load(group, name, found)
        if failure is not None:
            reason = _reason(failure)
            if group not in KINDS and not isinstance(failure, _Misplaced):
                reason = f"{_unread(group)}; {reason}"
            return Listing(name, "broken", distribution, version, reason=reason)
        return Listing(name, "ready", distribution, version)

    def installed(self, group: str) -> Mapping[str, tuple[EntryPoint, ...]]:
        """Return the entry points of a group by their names, loading none."""
        return self._installed.group(group)

    # Loading

    @functools.cached_property
    def _installed(self) -> Installed:
        return Installed()

    def _load(self, group: str, name: str, found: tuple[EntryPoint, ...]) -> BaseException | None:
        """Load a plugin, once, and return why that fails, if it does."""
        key = group, name
        if key not in self._failures:
            try:
                self._load_now(group, name, found)
            except (Exception, SystemExit) as error:  # what a stranger's module does on import is not ours to limit
                self._failures[key] = error
            else:
                self._failures[key] = None
        return self._failures[key]

    def _load_now(self, group: str, name: str, found: tuple[EntryPoint, ...]) -> None:
        entry = _only(found)
        value = entry.load()
        if (misplaced := _misplaced(entry, value)) is not None:
            raise misplaced
        if group == COMMANDS:
            check_callable(entry.value, value)
            self._commands[name] = value
        elif group == OBSERVERS:
            self._register(value, f"{name!r} of {origin(found)} ({group})")
        else:
            _check_contract(sys.modules.get(entry.module))  # which may only import the class
            self._take(self._shelves[group], value, entry.value, name)

    def _take(self, shelf: _Shelf[Any], value: Any, place: str, wanted: str | None = None) -> None:
        """Take a class of plugins; the one of an entry point has its name, which is `wanted`."""
        _check_contract(value)
        if not shelf.fits(value):
            msg = f"{place} is {value!r} of type {type(value).__name__}, which is not {shelf.what}"
            raise _Refused(msg)
        if shelf is self._backends:
            check_backend(value)
        name = getattr(value, "name", "") or value.__name__
        if wanted is not None and name != wanted:
            msg = f"{place} has the name {name!r}, and its entry point the name {wanted!r}; give both the same"
            raise _Refused(msg)
        if shelf.ready.get(name) is value:
            return
        owners = self.installed(shelf.group).get(name, ())
        if owners and place not in [owner.value for owner in owners]:
            msg = f"its name {name!r} belongs to {origin(owners)}"
            raise _Refused(msg)
        if name in shelf.ready:
            msg = f"a {shelf.noun} {name!r} is registered already"
            raise _Refused(msg)
        shelf.ready[name] = value

    def _register(self, plugin: object, label: str) -> None:
        """Take all hooks of an observer, or none."""
        if self._pluggy.is_registered(plugin):
            return  # one module may stand behind several names
        try:
            self._take_hooks(plugin, label)
        except BaseException:
            if self._pluggy.is_registered(plugin):
                self._pluggy.unregister(plugin)
            raise
        if self._pluggy.hook.amltk_event_emitted.get_hookimpls():
            emitter.observer = self._event_emitted

    def _take_hooks(self, plugin: object, label: str) -> None:
        if plugin is None or isinstance(plugin, type):
            hint = f"; take an object of it: {plugin.__name__}()" if plugin else ""
            msg = f"{plugin!r} is neither a module nor an object with hooks{hint}"
            raise _Refused(msg)
        _check_contract(plugin)
        self._pluggy.register(plugin, label)  # refuses hooks with arguments that are not theirs
        hooks = self._pluggy.get_hookcallers(plugin)
        if not hooks:
            msg = "it implements no hook; mark its functions with @amltk.hookspecs.hookimpl"
            raise _Refused(msg)
        for hook in hooks:
            if not hook.has_spec():
                known = [name for name in dir(hookspecs) if name.startswith("amltk_")]
                msg = f"it has a hook {hook.name!r}, which amltk does not know.{did_you_mean(hook.name, known)}"
                raise _Refused(msg)
            if any(each.wrapper or each.hookwrapper for each in hook.get_hookimpls() if each.plugin is plugin):
                msg = f"its hook {hook.name!r} is a wrapper; amltk's hooks can't be wrapped"
                raise _Refused(msg)


def _group_of(value: object) -> str | None:
    """Return the group into which an object belongs, as far as it shows that."""
    if isinstance(value, type):
        return next((group for base, group in _GROUP_OF_BASE.items() if issubclass(value, base)), None)
    hooks = [name for name in dir(value) if name.startswith("amltk_") and hasattr(hookspecs, name)]
    return OBSERVERS if hooks else None


_GROUP_OF_BASE: Mapping[type, str] = {
    Backend: BACKENDS,
    TaskPlugin: TASK_PLUGINS,
    SchedulerPlugin: SCHEDULER_PLUGINS,
}


def _misplaced(entry: EntryPoint, value: object) -> _Misplaced | None:
    """Return what is wrong with the place of an entry point that leads to `value`, if anything is."""
    right, place = _group_of(value), entry.value
    if isinstance(value, types.ModuleType) and (right is None or right != entry.group):
        for name, each in vars(value).items():  # an entry point of a class is of the class, not of its module
            if isinstance(each, type) and getattr(each, "name", None) == entry.name and (group := _group_of(each)):
                right, place = group, f"{entry.module}:{name}"
    if right == entry.group and place != entry.value:
        return _Misplaced(f"{entry.value} is a module, not {KINDS[right]}; write {line_of(right, entry.name, place)}")
    if right is not None and right != entry.group:
        where = f"the group {entry.group!r} of entry points"
        where += f", which is for {KINDS[entry.group].partition(' ')[2]}s" if entry.group in KINDS else ""
        fix = line_of(right, entry.name, place)
        return _Misplaced(f"it is {KINDS[right]} in {where}; write in its pyproject.toml: {fix}")
    return None if entry.group in KINDS else _Misplaced(_unread(entry.group))


def _unread(group: str) -> str:
    groups = ", ".join(f"{each!r} for {kind}" for each, kind in KINDS.items())
    return f"it is in the group {group!r} of entry points, which is not read; the groups are {groups}"


def _described(row: Listing, backend: type[Backend]) -> Listing:
    status: Status = "unavailable" if backend.unavailable else "ready"
    return replace(row, status=status, reason=backend.unavailable, summary=backend.summary, backend=backend)


def _is_ours(name: str, found: tuple[EntryPoint, ...]) -> bool:
    """Say whether an entry point is one of this project's, which are in their places."""
    owner = KNOWN_BACKENDS.get(name) or KNOWN_TASK_PLUGINS.get(name)
    return any(distribution_of(entry)[0] == owner for entry in found)


def _only(found: tuple[EntryPoint, ...]) -> EntryPoint:
    entry, *others = found
    if others and all(other.dist is entry.dist for other in others):
        msg = f"it is named {len(found)} times there: {', '.join(each.value for each in found)}; keep one"
        raise _Refused(msg)
    if others:
        both = " and ".join(sorted(origin((each,)) for each in found))
        commands = " or ".join(sorted(f"pip uninstall {distribution_of(each)[0]}" for each in found))
        msg = f"{both} both bring it; keep one: {commands}"
        raise _Refused(msg)
    if isinstance(entry, MalformedEntryPoint):
        raise _Refused(entry.fault)
    return entry


@functools.cache
def plugin_manager() -> Plugins:
    """Return the plugins of this process."""
    return Plugins()


def reset_plugins() -> None:
    """Forget all loaded plugins: their next use looks again at what is installed. For tests that change that."""
    plugin_manager.cache_clear()
    emitter.observer = None


def _check_contract(plugin: object) -> None:
    """Refuse a plugin made for another version of the contract, before any of its hooks is called."""
    kind = plugin if isinstance(plugin, type) else type(plugin)
    module = sys.modules.get(kind.__module__)  # of a class, or an object with hooks, where the plugin is no module
    unsaid = getattr(module, hookspecs.DECLARATION, 1)
    made_for = getattr(plugin, hookspecs.DECLARATION, unsaid)
    if isinstance(made_for, bool) or not isinstance(made_for, int):
        msg = f"its {hookspecs.DECLARATION} must be an integer, got {made_for!r} of type {type(made_for).__name__}"
        raise _Refused(msg)
    if made_for != hookspecs.CONTRACT:
        mend = "amltk-core" if made_for > hookspecs.CONTRACT else "the plugin"
        msg = (
            f"it was made for version {made_for} of the plugin contract, and the installed amltk-core has version "
            f"{hookspecs.CONTRACT}; a newer release of {mend} is needed"
        )
        raise _Refused(msg)


def _disabled() -> set[str]:
    return {name.strip() for name in os.environ.get(DISABLE, "").split(",")} - {""}


def _in_order(implementations: Sequence[pluggy.HookImpl]) -> Sequence[pluggy.HookImpl]:
    """Return them in the order of registration, those marked `tryfirst` first and `trylast` last."""
    return sorted(implementations, key=lambda each: each.trylast - each.tryfirst)


def _reason(error: BaseException) -> str:
    if isinstance(error, _Refused):
        return str(error)
    return " ".join(f"{type(error).__name__}: {error}".split())  # one line, for a table


def _first_line(text: str | None) -> str:
    return (text or "").strip().partition("\n")[0]
