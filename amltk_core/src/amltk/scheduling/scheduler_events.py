"""The events of a scheduler: an object for each, and the attribute that registers callbacks for it."""

from __future__ import annotations

import asyncio
from typing import Any

from amltk.events import Emitter, Event, Subscribes


class SchedulerEvents(Emitter):
    """The events of a `Scheduler`, whose docstring describes them."""

    STARTED: Event[[]] = Event("on_start", "A run has started and takes calls; callbacks receive nothing.")
    FUTURE_SUBMITTED: Event[asyncio.Future[Any]] = Event(
        "on_future_submitted", "A call was accepted; callbacks receive (future)."
    )
    FUTURE_DONE: Event[asyncio.Future[Any]] = Event(
        "on_future_done", "A call returned or raised; callbacks receive (future)."
    )
    FUTURE_RESULT: Event[asyncio.Future[Any], Any] = Event(
        "on_future_result", "A call returned; callbacks receive (future, result)."
    )
    # Any: callbacks may ask for Exception, as most do, though a SystemExit of the function comes here too.
    FUTURE_EXCEPTION: Event[asyncio.Future[Any], Any] = Event(
        "on_future_exception", "A call raised; callbacks receive (future, exception)."
    )
    FUTURE_CANCELLED: Event[asyncio.Future[Any]] = Event(
        "on_future_cancelled", "A call was cancelled; callbacks receive (future)."
    )
    EMPTY: Event[[]] = Event("on_empty", "No call is left; callbacks receive nothing and may submit more.")
    TIMEOUT: Event[[]] = Event("on_timeout", "The time of the run is over; callbacks receive nothing.")
    STOP: Event[str, BaseException | None] = Event(
        "on_stop", "stop() was called; callbacks receive (message, exception)."
    )
    FINISHING: Event[[]] = Event(
        "on_finishing", "All calls have ended, the executor is about to be closed; callbacks receive nothing."
    )
    FINISHED: Event[[]] = Event("on_finished", "The run is over; callbacks receive nothing.")

    on_start = Subscribes(STARTED)
    on_future_submitted = Subscribes(FUTURE_SUBMITTED)
    on_future_done = Subscribes(FUTURE_DONE)
    on_future_result = Subscribes(FUTURE_RESULT)
    on_future_exception = Subscribes(FUTURE_EXCEPTION)
    on_future_cancelled = Subscribes(FUTURE_CANCELLED)
    on_empty = Subscribes(EMPTY)
    on_timeout = Subscribes(TIMEOUT)
    on_stop = Subscribes(STOP)
    on_finishing = Subscribes(FINISHING)
    on_finished = Subscribes(FINISHED)
