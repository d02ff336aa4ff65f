"""The events of a task: an object for each, and the attribute that registers callbacks for it."""

from __future__ import annotations

import asyncio
from typing import Any, Concatenate, Generic, ParamSpec, TypeVar

from amltk.events import Emitter, Event, Subscribes

P = ParamSpec("P")
R = TypeVar("R")


class TaskEvents(Emitter, Generic[P, R]):
    """The events of a `Task`, whose docstring describes them."""

    SUBMITTED: Event[...] = Event("on_submitted", "A call was accepted; callbacks receive (future, *args, **kwargs).")
    DONE: Event[asyncio.Future[Any]] = Event("on_done", "A call returned or raised; callbacks receive (future).")
    RESULT: Event[asyncio.Future[Any], Any] = Event("on_result", "A call returned; callbacks receive (future, result).")
    EXCEPTION: Event[asyncio.Future[Any], Any] = Event(
        "on_exception", "A call raised; callbacks receive (future, exception)."
    )
    CANCELLED: Event[asyncio.Future[Any]] = Event("on_cancelled", "A call was cancelled; callbacks receive (future).")

    on_submitted: Subscribes[Concatenate[asyncio.Future[R], P]] = Subscribes(SUBMITTED)  # type: ignore[arg-type] # as called
    # Future[Any]: one callback can serve tasks of different results.
    on_done: Subscribes[asyncio.Future[Any]] = Subscribes(DONE)
    on_result: Subscribes[asyncio.Future[R], R] = Subscribes(RESULT)
    # Any: callbacks may ask for Exception, as most do, though a SystemExit of the function comes here too.
    on_exception: Subscribes[asyncio.Future[Any], Any] = Subscribes(EXCEPTION)
    on_cancelled: Subscribes[asyncio.Future[Any]] = Subscribes(CANCELLED)
