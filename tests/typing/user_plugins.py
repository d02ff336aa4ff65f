"""What type checkers tell those who extend amltk; see `user_script.py` for how this is run."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import Executor, ThreadPoolExecutor
from typing import Any, assert_type

from amltk import Emitter, Event, Scheduler, Subscriber, Task, TaskPlugin
from amltk.backend import Backend, Capabilities, HealthCheck
from amltk.hookspecs import hookimpl


# A task plugin
class Budget(TaskPlugin):
    """Refuses calls when the budget is used up."""

    name = "budget"
    SPENT: Event[int] = Event("budget-spent", "A call was refused; callbacks receive how many were.")

    def __init__(self, calls: int) -> None:
        self.left = calls
        self.refused = 0

    def attach_task(self, task: Task[..., Any]) -> None:
        task.on_submitted(self.spend)

    def spend(self, *_: object, **__: object) -> None:
        self.left -= 1

    def pre_submit(
        self, function: Callable[..., Any], /, *args: Any, **kwargs: Any
    ) -> tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]] | None:
        if self.left <= 0 and self.task is not None:
            self.refused += 1
            self.task.emit(self.SPENT, self.refused)
            self.task.emit(self.SPENT, "many")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
            return None
        return function, args, kwargs


class WrongPlugin(TaskPlugin):
    def pre_submit(self, function: int) -> int:  # type: ignore[override]  # pyright: ignore[reportIncompatibleMethodOverride]
        return function


def run(x: int) -> int:
    return x


task = Scheduler.with_threads(2).task(run, plugins=[Budget(3)])


@task.on(Budget.SPENT)
def spent(refused: int) -> None: ...


@task.on(Budget.SPENT)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
def spent_wrongly(refused: str) -> None: ...


Scheduler.with_threads().task(run, plugins=Budget)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
Scheduler.with_threads().task(run, plugins=["budget"])  # type: ignore[list-item]  # pyright: ignore[reportArgumentType]


# An emitter
class Kettle(Emitter):
    HOT: Event[[float]] = Event("hot")
    EMPTY: Event[[]] = Event("empty")

    def __init__(self) -> None:
        super().__init__("kettle")
        self.on_hot = self.subscriber(self.HOT)
        self.on_empty: Subscriber[[]] = self.subscriber(self.EMPTY)

    def boil(self) -> None:
        self.emit(self.HOT, 100.0)
        self.emit(self.EMPTY)
        self.emit(self.EMPTY, 1)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
        self.on_hot.emit()  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]


kettle = Kettle()


@kettle.on_hot
def tell(degrees: float) -> str:
    return f"{degrees}"


assert_type(tell(1.0), str)
assert_type(kettle.on(Kettle.HOT, tell)(2.0), str)
kettle.on("hot", callback=print)


@kettle.on_hot(every=2)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
def tell_wrongly(degrees: str) -> None: ...


# A scheduler of one's own keeps its class
class Own(Scheduler):
    def begin(self) -> None: ...


Own.with_processes(2).begin()
Own.with_backend("threads").begin()
Own(ThreadPoolExecutor(1)).begin()


# A backend
class Places(Backend):
    name = "places"
    summary = "Places."
    capabilities = Capabilities(stops_running_work=True)

    def __init__(self, size: int = 1) -> None:
        self.size = size

    def open(self) -> Executor:
        return ThreadPoolExecutor(self.size)

    def kill(self, executor: Executor) -> None: ...

    def health_checks(self) -> Iterable[HealthCheck]:
        yield HealthCheck("room", lambda: f"{self.size} places")


class NoPlaces(Backend):
    name = "no_places"
    summary = "None."


Places(size=2).open()
NoPlaces()  # type: ignore[abstract]  # pyright: ignore[reportAbstractUsage]


@hookimpl
def amltk_run_finished(scheduler: Scheduler) -> None: ...
