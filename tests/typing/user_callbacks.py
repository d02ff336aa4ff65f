"""What type checkers tell those who write callbacks; see `user_script.py` for how this is run."""

from __future__ import annotations

import asyncio
import functools
from asyncio import Future
from typing import Any, assert_type

from amltk import ExitState, Requeue, Scheduler


def train(rate: float, *, epochs: int = 1) -> str:
    return f"{rate} {epochs}"


def score(model: str) -> float:
    return float(len(model))


scheduler = Scheduler.with_processes(2)
training = scheduler.task(train)
scoring = scheduler.task(score)


# Results have the type that the function returns.
@training.on_result
def trained(_: Future[str], model: str) -> None:
    scoring(model)


@training.on_result  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
def trained_wrongly(_: Future[str], model: int) -> None: ...


@training.on_result(limit=1)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
def trained_once_wrongly(_: Future[str], model: int) -> None: ...


@training.on_result  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
def trained_without_a_future(model: str) -> None: ...


training.on_result(lambda future, model: None)
training.on_done(lambda future: None)
training.on_cancelled(lambda future: None)


# Submissions tell what was submitted.
@training.on_submitted
def submitted(future: Future[str], rate: float, *, epochs: int = 1) -> None: ...


@training.on_submitted  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
def submitted_wrongly(future: Future[str], rate: str, *, epochs: int = 1) -> None: ...


# Exceptions: most write Exception, but SystemExit comes this way too. Both are fine, and can be shared.
@training.on_exception
@scoring.on_exception
@scheduler.on_future_exception
def failed(_: Future[Any], exception: Exception) -> None: ...


@training.on_exception(every=2)
@scoring.on_exception
def failed_in_whatever_way(_: Future[Any], exception: BaseException) -> None: ...


scoring.on_exception(failed)
scoring.on_exception(failed_in_whatever_way)


@training.on_exception  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
def failed_wrongly(exception: Exception) -> None: ...


# Decorators can be stacked, whatever their events; the function stays what it was.
@scheduler.on_start
@scheduler.on_empty(limit=3)
@training.on_result
@scoring.on_result(limit=3)
@training.on("on_result")
def whenever(*_: object) -> int:
    return 1


assert_type(whenever(), int)


# Callbacks may be async.
@scheduler.on_start
async def begin() -> None:
    await asyncio.sleep(0)
    training(0.1)


@training.on_result(when=lambda: True)
async def store(_: Future[str], model: str) -> None: ...


# Events of the scheduler.
@scheduler.on_stop
def stopped(message: str, exception: BaseException | None) -> None: ...


@scheduler.on_future_result
def anything(future: Future[Any], result: str) -> None: ...


@scheduler.on_start  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
def begin_wrongly(future: Future[Any]) -> None: ...


scheduler.on_future_done(scheduler.stop)
scheduler.on_timeout(scheduler.stop)
scheduler.on_start(limit="3")(begin)  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType]
scheduler.on_start(limt=3)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]
scheduler.on_start(3)  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType]
counts: int = scheduler.event_counts["on_start"] + training.event_counts[training.RESULT]

# Functions that are not plain: all keep their arguments and results.
assert_type(scheduler.submit(score, "model"), Future[float])
scheduler.task(len)([1, 2])
scheduler.task(functools.partial(train, epochs=3))(0.1)
scheduler.task(lambda: 3)()
scheduler.task("abc".split)(",")

# Timers
timer = scheduler.call_later(1.5, training, 0.1, epochs=2)
timer.cancel()
scheduler.call_later(1.5, training, "fast")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


# How a run ended
def tell(state: ExitState) -> str:
    code: ExitState.Code = state.code
    if code is ExitState.Code.EXCEPTION and state.exception is not None:
        return f"{state.exception!r}"
    return code.value if code in {ExitState.Code.TIMEOUT, ExitState.Code.STOPPED} else "done"


async def main() -> str:
    return tell(await scheduler.async_run(timeout=1, on_exception={ValueError: "continue"}))


# Items that can be given back
items: Requeue[int] = Requeue(range(3))
items.append(3)
items.requeue("3")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
assert_type(next(items, None), int | None)
