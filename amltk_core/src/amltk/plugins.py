"""Finds, loads, lists and blocks plugins, and remembers what failed and why.

    entry points of `amltk`            name -> module   loaded when that name is asked for
    entry points of `amltk.observers`  name -> module   loaded when the first scheduler is made

pluggy holds the implementations; what it does by itself is not what our users need (it stops at
the first broken plugin, calls the last-registered first, lets one that raises silence the others,
and takes a misspelled hook without a word), so loading and calling are done here, one by one.
"""

from __future__ import annotations

import functools
import importlib
import logging
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Literal

import pluggy

from amltk import events, hookspecs
from amltk.backend import Backend
from amltk.checks import did_you_mean
from amltk.events import Emitter, Event
from amltk.exceptions import (
    BackendError,
    BackendNotInstalledError,
    BrokenBackendError,
    BrokenPluginError,
    PluginError,
    PluginNotInstalledError,
    UnknownBackendError,
)
from amltk.scheduling.task_plugin import TaskPlugin

logger = logging.getLogger("amltk")

GROUP = "amltk"
OBSERVERS = "amltk.observers"
DISABLE = "AMLTK_DISABLE_PLUGINS"

KNOWN_BACKENDS: Mapping[str, str] = {
    "processes": "amltk-processes",
    "threads": "amltk-threads",
    "sequential": "amltk-sequential",
    "loky": "amltk-loky",
    "dask": "amltk-dask",
    "slurm": "amltk-slurm",
    "pbs": "amltk-pbs",
    "sge": "amltk-sge",
    "lsf": "amltk-lsf",
    "moab": "amltk-moab",
    "htcondor": "amltk-htcondor",
    "oar": "amltk-oar",
    "ray": "amltk-ray",
    "airflow": "amltk-airflow",
}
"""The backends of this project, and the distributions that bring them."""

KNOWN_TASK_PLUGINS: Mapping[str, str] = {"call-limiter": "amltk-call-limiter", "pynisher": "amltk-pynisher"}
"""The task plugins of this project, and the distributions that bring them."""

_OFFERED = {
    "CallLimiter": ("amltk_call_limiter", "amltk-call-limiter"),
    "PynisherPlugin": ("amltk_pynisher", "amltk-pynisher"),
    "SequentialExecutor": ("amltk_sequential", "amltk-sequential"),
}

Status = Literal["ready", "not installed", "broken", "disabled"]


@dataclass(frozen=True)
class Listing:
    """What is known of a backend or plugin: a row of `amltk backends` or `amltk plugins`.

    Attributes:
        name: Its name.
        status: "ready"; "not installed", if we only know of it; "broken" or "disabled".
        distribution: What brings it, and its version where it is installed.
        summary: One line about it.
        reason: Why it can't be used and what mends that; empty when it can.
        backend: The backend itself, if it is a backend and ready.
    """

    name: str
    status: Status
    distribution: str
    version: str
    summary: str = ""
    reason: str = ""
    backend: Backend | None = None


class _Refused(Exception):  # noqa: N818 - never leaves this module
    """A plugin can't be used; the text says why."""


class Plugins:
    """All plugins of this process. `plugin_manager()` returns the one object of it."""

    def __init__(self) -> None:
        """Know of what is installed; load nothing."""
        self._pluggy = pluggy.PluginManager(hookspecs.PROJECT)
        self._pluggy.add_hookspecs(hookspecs)
        self._backends: dict[str, Backend] = {}
        self._task_plugins: dict[str, type[TaskPlugin]] = {}
        self._outcomes: dict[tuple[str, str], str] = {}
        self._causes: dict[tuple[str, str], BaseException] = {}
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
        if not isinstance(name, str):
            msg = f"A backend's name must be a string, got {name!r} of type {type(name).__name__}."
            raise TypeError(msg)
        if name in self._backends and name not in _disabled():
            return self._backends[name]
        found = self._entry_points(GROUP).get(name)
        if name in _disabled():
            msg = f"The backend {name!r} is disabled: the environment variable {DISABLE} lists it. Take it out there."
            raise BackendError(msg)
        if found is None:
            if name in KNOWN_BACKENDS:
                msg = f"The backend {name!r} is not installed. Install it: pip install {KNOWN_BACKENDS[name]}"
                raise BackendNotInstalledError(msg)
            names = self.backend_names()
            msg = (
                f"There is no backend {name!r}.{did_you_mean(name, [*names, *KNOWN_BACKENDS])} "
                f"Installed: {', '.join(names) or 'none'}. All about them: amltk backends"
            )
            raise UnknownBackendError(msg)
        reason = self._load(GROUP, name, found)
        if not reason and name not in self._backends:
            reason = f"its module {found[0].value} registers no backend {name!r}"
        if reason:
            msg = f"The backend {name!r} of {_origin(found)} is broken: {reason}"
            raise BrokenBackendError(msg) from self._causes.get((GROUP, name))
        return self._backends[name]

    def task_plugin(self, name: str) -> type[TaskPlugin]:
        """Return the class of the task plugin of that name, which loads its module.

        Raises:
            PluginNotInstalledError: It is known, but its distribution is not installed.
            BrokenPluginError: It is installed, but fails to load.
            PluginError: There is none of that name, or it is disabled by `AMLTK_DISABLE_PLUGINS`.
        """
        if name in _disabled():
            msg = f"The plugin {name!r} is disabled: the environment variable {DISABLE} lists it. Take it out there."
            raise PluginError(msg)
        if name in self._task_plugins:
            return self._task_plugins[name]
        found = self._entry_points(GROUP).get(name)
        if found is None:
            if name in KNOWN_TASK_PLUGINS:
                msg = f"The task plugin {name!r} is not installed. Install it: pip install {KNOWN_TASK_PLUGINS[name]}"
                raise PluginNotInstalledError(msg)
            known = [*self._task_plugins, *self._entry_points(GROUP), *KNOWN_TASK_PLUGINS]
            msg = f"There is no task plugin {name!r}.{did_you_mean(name, known)} All about them: amltk plugins"
            raise PluginError(msg)
        reason = self._load(GROUP, name, found)
        if not reason and name not in self._task_plugins:
            reason = f"its module {found[0].value} registers no task plugin {name!r}"
        if reason:
            msg = f"The task plugin {name!r} of {_origin(found)} is broken: {reason}"
            raise BrokenPluginError(msg) from self._causes.get((GROUP, name))
        return self._task_plugins[name]

    def register(self, plugin: object, name: str | None = None) -> None:
        """Take a plugin that is not installed: a module, or an object with hook implementations.

        Raises:
            BrokenPluginError: A hook of it is misspelled or takes arguments that the hook doesn't have.
        """
        name = name or getattr(plugin, "__name__", None) or repr(plugin)
        try:
            self._register(plugin, name)
        except Exception as error:
            self._pluggy.unregister(plugin)
            msg = f"The plugin {name} is broken: {_reason(error)}"
            raise BrokenPluginError(msg) from error

    # Observers

    def load_observers(self) -> None:
        """Load the modules that only watch; a broken one is reported in the log, once."""
        if self._observers_loaded:
            return
        self._observers_loaded = True
        for name, found in self._entry_points(OBSERVERS).items():
            if name not in _disabled() and (reason := self._load(OBSERVERS, name, found)):
                logger.warning("The plugin %r of %s is not used: %s", name, _origin(found), reason)

    def notify(self, hook: str, **arguments: Any) -> None:
        """Call the implementations of a hook in the order of loading; one that raises is reported, no more."""
        for implementation in getattr(self._pluggy.hook, hook).get_hookimpls():
            try:
                implementation.function(*[arguments[name] for name in implementation.argnames])
            except Exception:
                logger.exception("The plugin %s raised in its hook %s; going on.", implementation.plugin_name, hook)

    # Listing

    def backend_names(self) -> list[str]:
        """Return the names of the installed backends, loading none that is known not to be one of ours."""
        entries = [name for name in self._entry_points(GROUP) if name not in KNOWN_TASK_PLUGINS]
        return sorted({*entries, *self._backends} - {*self._task_plugins} - _disabled())

    def list_backends(self) -> list[Listing]:
        """Return what is known of each backend; loads the modules of the installed ones, but not what they wrap."""
        rows = []
        for name, found in sorted(self._entry_points(GROUP).items()):
            if name in KNOWN_TASK_PLUGINS:
                continue
            row = self._listing(name, found)
            backend = self._backends.get(name)
            if row.status == "ready" and backend is not None:
                row = Listing(name, "ready", row.distribution, row.version, backend.summary, backend=backend)
            if row.status != "ready" or backend is not None:
                rows.append(row)
        listed = {row.name for row in rows}
        for name, backend in self._backends.items():
            if name not in listed:
                rows.append(Listing(name, "ready", "(registered by the program)", "", backend.summary, backend=backend))
        rows += [
            _missing(name, needs) for name, needs in KNOWN_BACKENDS.items() if name not in self._entry_points(GROUP)
        ]
        return rows

    def list_plugins(self) -> list[Listing]:
        """Return what is known of each task plugin and observer; loads the modules of the installed ones."""
        rows = []
        for name, found in sorted(self._entry_points(GROUP).items()):
            if name in KNOWN_BACKENDS:
                continue
            row = self._listing(name, found)
            cls = self._task_plugins.get(name)
            if row.status == "ready" and cls is not None:
                row = Listing(name, "ready", row.distribution, row.version, _first_line(cls.__doc__))
            if row.status != "ready" or cls is not None:
                rows.append(row)
        for name, found in sorted(self._entry_points(OBSERVERS).items()):
            row = self._listing(name, found, OBSERVERS)
            rows.append(Listing(name, row.status, row.distribution, row.version, "observes", row.reason))
        missing = {name: needs for name, needs in KNOWN_TASK_PLUGINS.items() if name not in self._entry_points(GROUP)}
        rows += [_missing(name, needs) for name, needs in missing.items()]
        return rows

    def _listing(self, name: str, found: tuple[EntryPoint, ...], group: str = GROUP) -> Listing:
        distribution = ", ".join(sorted({_distribution(entry)[0] for entry in found}))
        version = ", ".join(sorted({_distribution(entry)[1] for entry in found}))
        if name in _disabled():
            return Listing(name, "disabled", distribution, version, reason=f"{DISABLE} lists it")
        reason = self._load(group, name, found)
        if not reason and group == GROUP and name not in self._backends and name not in self._task_plugins:
            reason = f"its module {found[0].value} registers nothing named {name!r}"
        return Listing(name, "broken" if reason else "ready", distribution, version, reason=reason)

    # Loading

    @functools.cache  # noqa: B019 - one object lives as long as the process
    def _entry_points(self, group: str) -> dict[str, tuple[EntryPoint, ...]]:
        found: dict[str, tuple[EntryPoint, ...]] = {}
        for entry in entry_points(group=group):
            found[entry.name] = (*found.get(entry.name, ()), entry)
        return found

    def _load(self, group: str, name: str, found: tuple[EntryPoint, ...]) -> str:
        """Load a plugin, once, and return why that fails; "" if it doesn't."""
        key = group, name
        if key not in self._outcomes:
            try:
                if len(found) > 1:
                    both = " and ".join(sorted(_origin((entry,)) for entry in found))
                    uninstall = _distribution(found[-1])[0]
                    msg = f"{both} both bring it; keep one: pip uninstall {uninstall}"
                    raise _Refused(msg)  # noqa: TRY301 - remembered like any other failure
                self._register(found[0].load(), name)
            except (Exception, SystemExit) as error:  # what a stranger's module does on import is not ours to limit
                self._outcomes[key] = _reason(error)
                self._causes[key] = error
            else:
                self._outcomes[key] = ""
        return self._outcomes[key]

    def _register(self, plugin: object, name: str) -> None:
        if self._pluggy.is_registered(plugin):
            return  # one module may stand behind several names
        hooks = list(_hooks_of(self._pluggy, plugin))
        if not hooks:
            msg = "it implements no hook; mark its functions with @amltk.hookspecs.hookimpl"
            raise _Refused(msg)
        known = [hook for hook in dir(hookspecs) if hook.startswith("amltk_")]
        for hook, options in hooks:
            if hook not in known:
                msg = f"it has a hook {hook!r}, which amltk does not know.{did_you_mean(hook, known)}"
                raise _Refused(msg)
            if options.get("wrapper") or options.get("hookwrapper"):
                msg = f"its hook {hook!r} is a wrapper; amltk's hooks can't be wrapped"
                raise _Refused(msg)
        registered = self._pluggy.register(plugin, f"{name} ({getattr(plugin, '__name__', type(plugin).__name__)})")
        try:
            for hook, register in (
                ("amltk_register_backends", self._register_backend),
                ("amltk_register_task_plugins", self._register_task_plugin),
            ):
                for implementation in getattr(self._pluggy.hook, hook).get_hookimpls():
                    if implementation.plugin is plugin:
                        implementation.function(*[register for _ in implementation.argnames])
        except BaseException:
            self._pluggy.unregister(name=registered)
            raise
        if self._pluggy.hook.amltk_event_emitted.get_hookimpls():
            events.observer = self._event_emitted

    def _register_backend(self, backend: Backend) -> None:
        if not isinstance(backend, Backend):
            msg = f"it registers {backend!r} of type {type(backend).__name__} as a backend, which is not an amltk.backend.Backend"
            raise _Refused(msg)
        self._backends[backend.name] = backend

    def _register_task_plugin(self, cls: type[TaskPlugin]) -> None:
        if not (isinstance(cls, type) and issubclass(cls, TaskPlugin)):
            msg = f"it registers {cls!r} as a task plugin, which is not a subclass of amltk.TaskPlugin"
            raise _Refused(msg)
        self._task_plugins[cls.name] = cls

    def _event_emitted(
        self, emitter: Emitter, event: Event[...], args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> None:
        self.notify("amltk_event_emitted", emitter=emitter, event=event, args=args, kwargs=kwargs)


@functools.cache
def plugin_manager() -> Plugins:
    """Return the plugins of this process."""
    return Plugins()


def offered(name: str) -> Any:
    """Return a class that `amltk` offers under its own name, but another distribution brings.

    Raises:
        ImportError: That distribution is not installed.
    """
    module, distribution = _OFFERED[name]
    try:
        return getattr(importlib.import_module(module), name)
    except ModuleNotFoundError as error:
        if error.name != module:
            raise  # it is installed, and something that it needs is not
        msg = f"{name} comes with {distribution}, which is not installed. Install it: pip install {distribution}"
        raise ImportError(msg, name=module) from None


def _disabled() -> set[str]:
    return {name.strip() for name in os.environ.get(DISABLE, "").split(",")} - {""}


def _hooks_of(manager: pluggy.PluginManager, plugin: object) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for name in dir(plugin):
        options = manager.parse_hookimpl_opts(plugin, name)
        if options is not None:
            yield name, options


def _distribution(entry: EntryPoint) -> tuple[str, str]:
    return (entry.dist.name, entry.dist.version) if entry.dist is not None else ("an unknown distribution", "")


def _origin(found: tuple[EntryPoint, ...]) -> str:
    return " and ".join(" ".join(_distribution(entry)).strip() for entry in found)


def _reason(error: BaseException) -> str:
    if isinstance(error, _Refused):
        return str(error)
    return f"{type(error).__name__}: {error}".strip()


def _first_line(text: str | None) -> str:
    return (text or "").strip().partition("\n")[0]


def _missing(name: str, distribution: str) -> Listing:
    return Listing(name, "not installed", distribution, "", reason=f"pip install {distribution}")
