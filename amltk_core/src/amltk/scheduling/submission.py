"""Asks the plugins what becomes of a call: it is submitted, refused or answered."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from amltk.calls import describe_value
from amltk.scheduling.call_plugin import Answer, CallPlugin, Refusal
from amltk.user_code import calls_user_code

if TYPE_CHECKING:
    from amltk.scheduling.call import CallFuture
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
    """Submit a call as the plugins of scheduler and task have it; return None if one refuses it.

    Raises:
        TypeError: A plugin's `pre_submit` returned something else than it may.
        Exception: What a plugin raises, or what the executor's `submit` does.
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
    return run.submit(task, function, to_send, to_send_by_name, args, kwargs, answer)


def _wrong(plugin: CallPlugin, submission: object) -> str:
    msg = (
        f"pre_submit of {type(plugin).__name__} must return (function, args, kwargs), Refusal(reason), None or an "
        f"Answer, got {describe_value(submission)}."
    )
    if submission in (Answer, Refusal):
        msg += " Make an object of it."
    return msg
