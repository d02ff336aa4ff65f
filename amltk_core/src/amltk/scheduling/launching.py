"""Starts a run in the right place: in this thread, in another thread, or in the event loop that runs already.

scheduler.run()        no loop runs here ──> a new loop in this thread
a loop runs here  ──> a new loop in another thread; this thread waits
scheduler.async_run()  ──> the loop that runs here
"""

from __future__ import annotations

import asyncio
import contextvars
import threading
from typing import TYPE_CHECKING, Protocol

from amltk.exceptions import SchedulerAlreadyRunningError
from amltk.scheduling.interrupt import interrupts
from amltk.scheduling.loop import run_in_new_loop

if TYPE_CHECKING:
    from amltk.scheduling.exit_state import ExitState
    from amltk.scheduling.run import Run


class OneRunAtATime(Protocol):
    """An object with at most one run under way; the `Scheduler` is one."""

    current_run: Run | None


def launch(scheduler: OneRunAtATime, run: Run) -> ExitState:
    """Execute a run in a loop of its own; return or raise what it concludes."""
    return _launch_in_thread(scheduler, run) if _is_inside_of_a_loop() else _launch_here(scheduler, run)


async def launch_in_running_loop(scheduler: OneRunAtATime, run: Run) -> ExitState:
    """Execute a run in the loop that is running; return or raise what it concludes."""
    with interrupts(run, ctrl_c=False):
        _begin(scheduler, run)
        try:
            await run.execute()
        finally:
            scheduler.current_run = None
    return run.conclude()


def check_not_running(scheduler: OneRunAtATime) -> None:
    """Check that no run is under way.

    Raises:
        SchedulerAlreadyRunningError: A run is under way.
    """
    if scheduler.current_run is not None:
        msg = "The scheduler is running already. Wait for that run to end, or make a second scheduler."
        raise SchedulerAlreadyRunningError(msg)


def _begin(scheduler: OneRunAtATime, run: Run) -> None:
    """Set the current run, within `interrupts`: no exception of a signal handler comes in between."""
    check_not_running(scheduler)
    scheduler.current_run = run


def _launch_here(scheduler: OneRunAtATime, run: Run) -> ExitState:
    with interrupts(run):
        _begin(scheduler, run)
        try:
            run_in_new_loop(run.execute, run.interrupted)
        finally:
            scheduler.current_run = None
    return run.conclude()


def _launch_in_thread(scheduler: OneRunAtATime, run: Run) -> ExitState:
    outcome: list[ExitState | BaseException] = []

    def work() -> None:
        try:
            outcome.append(_launch_here(scheduler, run))
        except BaseException as error:
            outcome.append(error)

    context = contextvars.copy_context()  # callbacks see the caller's context variables
    thread = threading.Thread(target=context.run, args=(work,), name="amltk: run() inside of a running event loop")
    thread.start()
    with interrupts(run):
        while thread.is_alive():
            try:
                thread.join()
            except KeyboardInterrupt as error:  # a third one
                run.interrupt(error)
    if isinstance(outcome[0], BaseException):
        raise outcome[0]
    return outcome[0]


def _is_inside_of_a_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
