"""Calls hooks, with one typed method for each, and registers the observers that implement them.

pluggy keeps the implementations and matches arguments by name. `Hooks` calls them in the order of registration. An
implementation that raises does not keep the others from being called.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import pluggy

from amltk import hookspecs
from amltk.checks import did_you_mean
from amltk.events import Emitter, Event, callbacks_of_plugin, emitter
from amltk.plugins.checking import RefusedPluginError, check_contract

if TYPE_CHECKING:
    from amltk.scheduling.exit_state import ExitState
    from amltk.scheduling.scheduler import Scheduler
    from amltk.scheduling.task import Task

logger = logging.getLogger("amltk")


class Hooks:
    """The registered observers. Its methods call the hooks of the same name, which `amltk.hookspecs` documents."""

    def __init__(self) -> None:
        """Start without observers."""
        self._pluggy = pluggy.PluginManager(hookspecs.PROJECT)
        self._pluggy.add_hookspecs(hookspecs)

    def amltk_scheduler_created(self, scheduler: Scheduler) -> None:
        """Call the hook: a scheduler was made."""
        self._call(self._pluggy.hook.amltk_scheduler_created, scheduler=scheduler)

    def amltk_task_created(self, task: Task[..., Any]) -> None:
        """Call the hook: a task was made."""
        self._call(self._pluggy.hook.amltk_task_created, task=task)

    def amltk_run_started(self, scheduler: Scheduler) -> None:
        """Call the hook: a run starts."""
        self._call(self._pluggy.hook.amltk_run_started, scheduler=scheduler)

    def amltk_run_finished(self, scheduler: Scheduler, exit_state: ExitState) -> None:
        """Call the hook: a run has ended."""
        self._call(self._pluggy.hook.amltk_run_finished, scheduler=scheduler, exit_state=exit_state)

    def amltk_event_emitted(
        self, emitter: Emitter, event: Event[...], args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> None:
        """Call the hook: an event was emitted."""
        self._call(self._pluggy.hook.amltk_event_emitted, emitter=emitter, event=event, args=args, kwargs=kwargs)

    def _call(self, hook: pluggy.HookCaller, **arguments: Any) -> None:
        """Call the implementations in the order of registration, those marked `tryfirst` first and `trylast` last."""
        for implementation in sorted(hook.get_hookimpls(), key=lambda each: each.trylast - each.tryfirst):
            try:
                with callbacks_of_plugin():
                    implementation.function(*[arguments[name] for name in implementation.argnames])
            except Exception:
                logger.exception(
                    "The plugin %s raised in its hook %s; the run continues.", implementation.plugin_name, hook.name
                )

    def register(self, observer: object, label: str) -> None:
        """Register all hooks of a module or object, or none.

        Raises:
            RefusedPluginError: It has no hook, a misspelled one or a wrapper, or was made for another contract.
            PluginValidationError: A hook has arguments that its specification does not have.
        """
        if self._pluggy.is_registered(observer):
            return  # one module may have several names
        try:
            self._register(observer, label)
        except BaseException:
            if self._pluggy.is_registered(observer):
                self._pluggy.unregister(observer)
            raise
        if self._pluggy.hook.amltk_event_emitted.get_hookimpls():
            emitter.observer = self.amltk_event_emitted

    def _register(self, observer: object, label: str) -> None:
        if observer is None or isinstance(observer, type):
            hint = f"; take an object of it: {observer.__name__}()" if observer else ""
            msg = f"{observer!r} is neither a module nor an object with hooks{hint}"
            raise RefusedPluginError(msg)
        check_contract(observer)
        self._pluggy.register(observer, label)
        hooks = self._pluggy.get_hookcallers(observer)
        if not hooks:
            msg = "it implements no hook; mark its functions with @amltk.hookspecs.hookimpl"
            raise RefusedPluginError(msg)
        for hook in hooks:
            if not hook.has_spec():
                known = [name for name in dir(hookspecs) if name.startswith("amltk_")]
                msg = f"it has a hook {hook.name!r}, which amltk does not have.{did_you_mean(hook.name, known)}"
                raise RefusedPluginError(msg)
            if any(each.wrapper or each.hookwrapper for each in hook.get_hookimpls() if each.plugin is observer):
                msg = f"its hook {hook.name!r} is a wrapper; amltk's hooks can't be wrapped"
                raise RefusedPluginError(msg)
