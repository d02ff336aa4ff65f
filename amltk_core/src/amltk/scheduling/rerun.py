"""Runs a failed call again, if a plugin asks for it.

    source failed ──> retry_after of its plugins ──seconds──> a stand-in waits in its place
                               └── None: the call has failed            └──> a new source

It stays one call: its future is pending, and it stays in `waiting`, under the stand-in or the new source.
"""

from __future__ import annotations

from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

from amltk.backend import ExecutionFuture
from amltk.checks import check_seconds
from amltk.scheduling.answered import AnsweredSource
from amltk.user_code import calls_user_code

if TYPE_CHECKING:
    from amltk.scheduling.call_future import CallFuture
    from amltk.scheduling.run_calls import RunCalls


@calls_user_code
def runs_again(run: RunCalls, future: CallFuture[Any], error: BaseException) -> bool:
    """Run a failed call again, if a plugin asks for it, and return whether; in the thread of the loop."""
    task, plugins = future.task, run.scheduler.plugins
    if (task is None and not plugins) or not run.accepting or isinstance(future.source, AnsweredSource):
        return False
    for plugin in (*plugins, *(() if task is None else task.plugins)):
        try:
            seconds = plugin.retry_after(future, error)
            check_seconds(f"what retry_after of {type(plugin).__name__} returned", seconds, or_none=True)
        except BaseException as failure:
            run.callbacks.failed(f"The method retry_after of {type(plugin).__name__}", failure)
            return False
        if seconds is not None and run.accepting:  # a callback of the plugin may have ended the run
            _put_off(run, future, seconds)
            return True
    return False


def _put_off(run: RunCalls, future: CallFuture[Any], seconds: float) -> None:
    run.waiting.pop(future.source, None)
    stand_in: ExecutionFuture[Any] = ExecutionFuture()  # cancelling the call cancels it
    stand_in.execution = future.execution
    future.source = stand_in
    run.waiting[stand_in] = future

    def due() -> None:
        timer.cancel()  # or it would keep the call alive in a reference cycle
        if not stand_in.cancelled():
            del run.waiting[stand_in]
            run.send_again(future)

    timer = future.get_loop().call_later(seconds, due)

    def cancelled(source: Future[Any]) -> None:
        timer.cancel()
        run.inbox.arrived(source)

    stand_in.add_done_callback(cancelled)
