"""What type checkers tell users; `tox -e types` runs mypy and pyright on it, and nothing ever executes it.

Where a line is wrong, each checker's comment expects the error; an error that does not come is one.
"""

from __future__ import annotations

from asyncio import Future
from concurrent.futures import ThreadPoolExecutor
from typing import Any, assert_type

from amltk import CallLimiter, Emitter, Event, ExitState, PynisherPlugin, Requeue, Retry, Scheduler, Task, Timeout

scheduler = Scheduler.with_processes(max_workers=2)


def train(rate: float, *, epochs: int = 1) -> str:
    return f"{rate} {epochs}"


# Constructors: ours are declared, options included; strangers' go through `with_backend`.
assert_type(scheduler, Scheduler)
assert_type(Scheduler.with_threads(4), Scheduler)
assert_type(Scheduler.with_sequential(), Scheduler)
assert_type(Scheduler.with_backend("theirs", workers=3), Scheduler)
assert_type(Scheduler(executor=ThreadPoolExecutor(2)), Scheduler)
Scheduler.with_proceses(max_workers=2)  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]
Scheduler.with_processes(max_worker=2)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
Scheduler.with_processes(max_workers="2")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]

# Tasks: the function's parameters are the task's.
task = scheduler.task(train)
task(0.1, epochs=3)
task("fast")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
task(0.1, epoch=3)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
task()  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
scheduler.submit(train, 0.1, epochs=2)
scheduler.submit(train, "fast")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]

future = task(0.1)
if future is not None:  # a plugin may refuse the call
    assert_type(future.result(), str)

scheduler.task(train, plugins=CallLimiter(max_calls=10))
scheduler.task(train, plugins=[CallLimiter(max_concurrent=1), PynisherPlugin(walltime_limit=5)])
scheduler.task(train, plugins=[Retry(5, on=OSError, wait=lambda state: state.attempt_number), Timeout(60)])
scheduler.task(train, plugins=Retry(on=lambda error: error.args == ("again",)))
Retry(on=OSError())  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
Timeout("60")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
scheduler.task(3)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


# Callbacks: as decorators with and without options, each leaves the function what it was.
@scheduler.on_start
def begin() -> None:
    task(0.1)


@task.on_result(every=2, limit=10)
def learn(_: Future[str], result: str) -> None:
    assert_type(result, str)


@task.on("concurrent-limit-reached")
def busy(refused: Task[..., Any], rate: float) -> None:
    assert_type((refused.name, rate), tuple[str, float])


begin()
learn(future, "ok") if future else None

# Runs
assert_type(scheduler.run(timeout=3, wait=False), ExitState)
scheduler.run(on_exception="end")
scheduler.run(on_exception={ValueError: "ignore", Exception: "raise"})
scheduler.run(on_exception="panic")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


# One's own events: what is emitted must be what callbacks receive.
class Kettle(Emitter):
    HOT: Event[[float]] = Event("hot")

    def __init__(self) -> None:
        super().__init__()
        self.on_hot = self.subscriber(self.HOT)


kettle = Kettle()
kettle.on_hot.emit(99.5)
kettle.emit(Kettle.HOT, 99.5)
kettle.emit(Kettle.HOT, "very")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]

assert_type(next(Requeue([1, 2])), int)
