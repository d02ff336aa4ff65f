"""Asks the plugins whether a call is submitted, refused or answered, and with which options."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from amltk.backend import CallOptions
from amltk.describe import describe_value
from amltk.scheduling.call_plugin import Answer, CallPlugin, Refusal
from amltk.user_code import calls_user_code

if TYPE_CHECKING:
    from amltk.scheduling.call_future import CallFuture
    from amltk.scheduling.run import Run
    from amltk.scheduling.task import Task


@calls_user_code
def submit_by_plugins(
    run: Run,
    task: Task[..., Any] | None,
    function: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
) -> CallFuture[Any] | None:
    """Submit a call as the plugins of scheduler and task change it; return None if one refuses it.

    Raises:
        TypeError: `pre_submit` or `call_options` of a plugin returned a value of a wrong type.
        NotSupportedError: A plugin gives an option that the executor does not accept.
        Exception: A plugin, or the executor's `submit`, raises.
    """
    plugins: tuple[CallPlugin, ...] = run.scheduler.plugins
    if task is not None:
        plugins = (*plugins, *task.plugins)
    to_send, to_send_by_name, answer = args, kwargs, None
    for plugin in plugins:
        submission = plugin.pre_submit(function, *to_send, **to_send_by_name)
        if isinstance(submission, tuple) and len(submission) == 3:
            function, to_send, to_send_by_name = submission
        elif submission is None or isinstance(submission, Refusal):
            emitter = run.scheduler if task is None else task
            emitter.refused_by = plugin
            emitter.refusal = submission
            return None
        elif isinstance(submission, Answer):
            answer = submission
            break
        else:
            raise TypeError(_wrong(plugin, submission))
    options = None if answer is not None else _options(run, task, plugins, function, to_send, to_send_by_name)
    return run.submit(task, function, to_send, to_send_by_name, args, kwargs, answer, options)


def _options(
    run: Run,
    task: Task[..., Any] | None,
    plugins: tuple[CallPlugin, ...],
    function: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
) -> CallOptions | None:
    """Return the options of a call if plugins give any; else None."""
    options = None
    for plugin in plugins:
        if type(plugin).call_options is CallPlugin.call_options:
            continue
        given = plugin.call_options(function, *args, **kwargs)
        if given is None:
            continue
        if not isinstance(given, CallOptions):
            msg = (
                f"call_options of {type(plugin).__name__} must return CallOptions or None, got {describe_value(given)}."
            )
            raise TypeError(msg)
        if options is None:
            options = (task._options if task is not None else None) or CallOptions()
        options = replace(options, **{name: getattr(given, name) for name in given.given})
    if options is not None:
        options.check_accepted(run.scheduler.accepts_options, run.scheduler.executor_label)
    return options if options is not None and options.given else None


def _wrong(plugin: CallPlugin, submission: object) -> str:
    msg = (
        f"pre_submit of {type(plugin).__name__} must return (function, args, kwargs), Refusal(reason), None or an "
        f"Answer, got {describe_value(submission)}."
    )
    if submission in (Answer, Refusal):
        msg += " Make an object of it."
    return msg
