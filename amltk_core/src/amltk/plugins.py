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
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.metadata import EntryPoint
from typing import Any, Generic, Literal, TypeVar

import pluggy

from amltk import hookspecs
from amltk.backend import Backend
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
    COMMANDS,
    GROUP,
    OBSERVERS,
    MalformedEntryPoint,
    distribution_of,
    origin,
    read_entry_points,
)
from amltk.known import KNOWN_BACKENDS, KNOWN_TASK_PLUGINS, how_to_install
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
        backend: The backend itself, if it is a backend that could be loaded.
    """

    name: str
    status: Status
    distribution: str
    version: str
    summary: str = ""
    reason: str = ""
    backend: Backend | None = None


@dataclass
class _Shelf(Generic[T]):
    """The plugins of one kind that are loaded, and what this kind has of its own."""

    noun: str
    hook: str
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


class Plugins:
    """All plugins of this process. `plugin_manager()` returns the one object of it."""

    def __init__(self) -> None:
        """Know of what is installed; load nothing."""
        self._pluggy = pluggy.PluginManager(hookspecs.PROJECT)
        self._pluggy.add_hookspecs(hookspecs)
        self._backends: _Shelf[Backend] = _Shelf(
            noun="backend",
            hook="amltk_register_backends",
            what="an amltk.backend.Backend",
            fits=lambda value: isinstance(value, Backend),
            command="amltk backends",
            known=KNOWN_BACKENDS,
            error=BackendError,
            unknown=UnknownBackendError,
            missing=BackendNotInstalledError,
            broken=BrokenBackendError,
        )
        self._task_plugins: _Shelf[type[TaskPlugin]] = _Shelf(
            noun="task plugin",
            hook="amltk_register_task_plugins",
            what="a subclass of amltk.TaskPlugin",
            fits=lambda value: isinstance(value, type) and issubclass(value, TaskPlugin),
            command="amltk plugins",
            known=KNOWN_TASK_PLUGINS,
            error=PluginError,
            unknown=PluginError,
            missing=PluginNotInstalledError,
            broken=BrokenPluginError,
        )
        self._failures: dict[tuple[str, str], BaseException | None] = {}
        self._observers_loaded = False

    # Asking for one

    def backend(self, name: str) -> Backend:
        """Return the backend of that name, which loads its plugin.

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

    def register(self, plugin: object, name: str | None = None) -> None:
        """Take a plugin that is not installed: a module, or an object with hook implementations.

        Raises:
            BrokenPluginError: It has no hook, one that is misspelled, or one with arguments that the
                hook doesn't have; or it registers what can't be registered.
        """
        name = name or getattr(plugin, "__name__", None) or repr(plugin)
        try:
            self._register(plugin, name, getattr(plugin, "__name__", ""))
        except Exception as error:
            msg = f"The plugin {name} is broken: {_reason(error)}"
            raise BrokenPluginError(msg) from error

    def _find(self, shelf: _Shelf[T], name: str) -> T:
        check_type("name", name, str)
        if name in _disabled():
            msg = f"The {shelf.noun} {name!r} is disabled: the environment variable {DISABLE} lists it. Take it out."
            raise shelf.error(msg)
        found = self._installed[GROUP].get(name)
        if found and name not in shelf.ready and (failure := self._load(GROUP, name, found)):
            msg = f"The {shelf.noun} {name!r} of {origin(found)} is broken: {_reason(failure)}"
            raise shelf.broken(msg) from failure
        if name in shelf.ready:
            return shelf.ready[name]
        if name in shelf.known:
            msg = f"The {shelf.noun} {name!r} is not installed. Install it: {how_to_install(shelf.known[name])}"
            raise shelf.missing(msg)
        installed = self._names(shelf)
        msg = (
            f"There is no {shelf.noun} {name!r}.{did_you_mean(name, [*installed, *shelf.known])} "
            f"Installed: {', '.join(installed) or 'none'}. All about them: {shelf.command}"
        )
        raise shelf.unknown(msg)

    # Observers

    def load_observers(self) -> None:
        """Load the modules that only watch; a broken one is reported in the log, once."""
        if self._observers_loaded:
            return
        self._observers_loaded = True
        for name, found in self._installed[OBSERVERS].items():
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
        return sorted(self._installed[COMMANDS].keys() - _disabled())

    def command(self, name: str) -> Callable[[Sequence[str]], int]:
        """Return a command that a distribution adds: a function of the words that follow its name.

        Raises:
            PluginError: There is none of that name.
            BrokenPluginError: It fails to load, or two distributions bring it.
        """
        if name not in self.command_names():
            msg = f"There is no command {name!r}.{did_you_mean(name, self.command_names())}"
            raise PluginError(msg)
        found = self._installed[COMMANDS][name]
        try:
            command = _only(found).load()
            check_callable(found[0].value, command)
        except (Exception, SystemExit) as error:  # as for any module of a stranger
            msg = f"The command {name!r} of {origin(found)} is broken: {_reason(error)}"
            raise BrokenPluginError(msg) from error
        return command  # type: ignore[no-any-return] # looked at above

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
        """Return what is known of each task plugin and observer; loads the modules of the installed ones."""
        classes = self._task_plugins.ready
        rows = [
            replace(row, summary=_first_line(classes[row.name].__doc__)) if row.status == "ready" else row
            for row in self._rows(self._task_plugins)
        ]
        for name, found in sorted(self._installed[OBSERVERS].items()):
            rows.append(replace(self._row(OBSERVERS, name, found), summary="observes"))
        return rows

    def _names(self, shelf: _Shelf[Any]) -> list[str]:
        """Return the installed names of a kind; of what is neither loaded nor ours, the kind is not known yet."""
        other = self._task_plugins if shelf is self._backends else self._backends
        names = {*shelf.ready, *self._installed[GROUP]} - {*other.known, *other.ready}
        return sorted(names - _disabled())

    def _rows(self, shelf: _Shelf[Any]) -> list[Listing]:
        other = self._task_plugins if shelf is self._backends else self._backends
        installed = self._installed[GROUP]
        rows = [self._row(GROUP, name, found) for name, found in sorted(installed.items()) if name not in other.known]
        rows = [row for row in rows if row.status != "ready" or row.name in shelf.ready]
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
            return Listing(name, "broken", distribution, version, reason=_reason(failure))
        return Listing(name, "ready", distribution, version)

    def installed(self) -> Mapping[str, tuple[EntryPoint, ...]]:
        """Return the entry points of backends and task plugins by their names, loading none."""
        return self._installed[GROUP]

    # Loading

    @functools.cached_property
    def _installed(self) -> Mapping[str, Mapping[str, tuple[EntryPoint, ...]]]:
        return read_entry_points()

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
        wanted = name if group == GROUP else None
        self._register(entry.load(), f"{name!r} of {origin(found)} ({group})", entry.value, wanted)

    def _register(self, plugin: object, label: str, module: str, wanted: str | None = None) -> None:
        """Take a plugin as a whole, or not at all; it has to register what is `wanted`."""
        is_new = not self._pluggy.is_registered(plugin)  # one module may stand behind several names
        offers: list[tuple[_Shelf[Any], Any]] = []
        try:
            if is_new:
                self._take_hooks(plugin, label)
                offers = self._offers(plugin, module)
            names = {*self._backends.ready, *self._task_plugins.ready, *(value.name for _, value in offers)}
            if wanted is not None and wanted not in names:
                msg = f"its module {module} registers nothing named {wanted!r}"
                raise _Refused(msg)  # noqa: TRY301 - undone like any other failure
        except BaseException:
            if is_new and self._pluggy.is_registered(plugin):
                self._pluggy.unregister(plugin)
            raise
        for shelf, value in offers:
            shelf.ready[value.name] = value
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

    def _offers(self, plugin: object, module: str) -> list[tuple[_Shelf[Any], Any]]:
        """Return what the registration hooks of a plugin register, and on which shelf it belongs."""
        offers: list[tuple[_Shelf[Any], Any]] = []

        def register(shelf: _Shelf[Any], value: Any) -> None:
            if not shelf.fits(value):
                msg = f"it registers {value!r} of type {type(value).__name__}, which is not {shelf.what}"
                raise _Refused(msg)
            owners = self._installed[GROUP].get(value.name, ())
            if owners and module not in [owner.value for owner in owners]:
                msg = f"it registers {value.name!r}, a name that belongs to {origin(owners)}"
                raise _Refused(msg)
            taken = {*self._backends.ready, *self._task_plugins.ready, *(other.name for _, other in offers)}
            if value.name in taken:
                msg = f"it registers {value.name!r}, which is registered already"
                raise _Refused(msg)
            offers.append((shelf, value))

        for shelf in (self._backends, self._task_plugins):
            for implementation in getattr(self._pluggy.hook, shelf.hook).get_hookimpls():
                if implementation.plugin is plugin:
                    implementation.function(*[functools.partial(register, shelf) for _ in implementation.argnames])
        return offers


def _described(row: Listing, backend: Backend) -> Listing:
    status: Status = "unavailable" if backend.unavailable else "ready"
    return replace(row, status=status, reason=backend.unavailable, summary=backend.summary, backend=backend)


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


def _check_contract(plugin: object) -> None:
    """Refuse a plugin made for another version of the contract, before any of its hooks is called."""
    module = sys.modules.get(type(plugin).__module__)  # of an object with hooks, where the plugin is no module
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
