"""The contract that a backend fulfils: what `Scheduler.with_<name>()` needs to know about it."""

from __future__ import annotations

import inspect
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from concurrent.futures import Executor
from dataclasses import dataclass, fields
from typing import ClassVar

from amltk.checks import check_callable, check_type
from amltk.executors import (
    AcceptsOptions,
    CallOptions,
    CarriesMessages,
    Execution,
    ExecutionFuture,
    ExecutionTimer,
    OptionName,
    ReportsExecution,
    SharesObjects,
)

__all__ = [
    "AcceptsOptions",
    "Backend",
    "CallOptions",
    "Capabilities",
    "CarriesMessages",
    "Execution",
    "ExecutionFuture",
    "ExecutionTimer",
    "HealthCheck",
    "OptionName",
    "ReportsExecution",
    "SharesObjects",
    "check_backend",
    "description_of",
    "overrides",
]

_NAME = re.compile(r"[a-z][a-z0-9_]*")


@dataclass(frozen=True, kw_only=True)
class Capabilities:
    """What a backend can do. Claim only what holds: the scheduler and its users rely on it.

    Attributes:
        stops_running_work: `kill` really ends the calls that run, and their children.
        survives_dead_worker: When a worker dies, only the call that it ran fails.
        needs_pickling: Functions, arguments and results cross a process boundary.
        crosses_machines: Workers may run on other machines.
        takes_any_function: Functions that workers can't import work too: lambdas, closures, those of the script.
        carries_any_exception: An exception of a call arrives whole, whatever it holds and however its
            class is made.
        blocks_the_run: Calls run in the thread of the run, in which nothing else happens meanwhile.
        accepts_options: Which of `CallOptions` its executors honour: they are `AcceptsOptions`. `"timeout"`: a call
            that has run for so many seconds is ended, whatever it does, and its future fails with `CallTimeoutError`.
        reports_execution: Its futures have an `execution`: they are `ReportsExecution`.
        carries_messages: Its executors are `CarriesMessages`.
        shares_objects: Its executors are `SharesObjects`.
    """

    stops_running_work: bool = False
    survives_dead_worker: bool = False
    needs_pickling: bool = False
    crosses_machines: bool = False
    takes_any_function: bool = False
    carries_any_exception: bool = False
    blocks_the_run: bool = False
    accepts_options: tuple[OptionName, ...] = ()
    reports_execution: bool = False
    carries_messages: bool = False
    shares_objects: bool = False

    def __post_init__(self) -> None:
        known = [option.name for option in fields(CallOptions)]
        for name in self.accepts_options:
            if name not in known:
                msg = f"accepts_options has names of {', '.join(known)}, as in ('timeout',); got {name!r}."
                raise ValueError(msg)


@dataclass(frozen=True)
class HealthCheck:
    """A step of `amltk doctor` before it starts a backend: whether the submit command is there, for example.

    Attributes:
        name: What is checked, in a word or two; no two of a backend have the same.
        check: Returns what was found, in a line, or raises an exception with what is wrong and
            what fixes it. What it prints last is shown if it does not return in time.
        runs: Whether it starts something, such as a job that waits in a queue: `--no-run` leaves it out.
    """

    name: str
    check: Callable[[], str]
    runs: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name.strip() or not self.name.isprintable():
            msg = f"A health check's name is a word or two, as in 'submit command'; got {self.name!r}."
            raise ValueError(msg)
        check_callable(f"check= of the health check {self.name!r}", self.check)
        check_type(f"runs= of the health check {self.name!r}", self.runs, bool)


class Backend(ABC):
    """A way to run calls: subclass it, and name the class in an entry point of the group `amltk.backends`.

    `__init__` takes the options. Its signature and docstring are those of `Scheduler.with_<name>`, which makes an
    object of the class with what the user gives. It raises `TypeError` or `ValueError` for what `open` could not
    use, and starts nothing.

    The module of the class must not import what the backend wraps: that is for `open`.

    Attributes:
        name: What stands behind `with_`: lower-case letters, digits and underscores; the name of the entry point.
        summary: One line for people who choose.
        capabilities: What it can do.
        needs_main_thread: Whether the executor takes no calls when the main thread of the program has
            ended, as what builds on `concurrent.futures`, asyncio or atexit does. Runs that another
            thread begins then are refused, with a sentence that says so.
        unavailable: Why it can't run calls on this system, and what to use instead: `amltk backends` shows
            it. Empty where it can.
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    capabilities: ClassVar[Capabilities] = Capabilities()
    needs_main_thread: ClassVar[bool] = True
    unavailable: ClassVar[str] = ""

    @abstractmethod
    def open(self) -> Executor:
        """Return a new executor. Called at the start of each run; the run shuts it down."""

    def kill(self, executor: Executor) -> None:
        """End the work that runs in an executor of `open`, children included, and return when it is gone.

        The executor is shut down afterwards. Override it to claim `stops_running_work`.
        """
        raise NotImplementedError

    def health_checks(self) -> Iterable[HealthCheck]:
        """Return what `amltk doctor` checks, one after the other up to the first that fails.

        A generator is closed after the last one, however it ended: there it ends what the checks have started.
        """
        return ()

    def job_script(self) -> str:
        """Return the script that a batch system gets for a worker; start nothing.

        `amltk doctor NAME --job-script` prints it.
        """
        raise NotImplementedError


def overrides(backend: Backend | type[Backend], method: str) -> bool:
    """Say whether a backend has a method of its own that `Backend` makes optional."""
    cls = backend if isinstance(backend, type) else type(backend)
    return getattr(cls, method) is not getattr(Backend, method)


def description_of(cls: type[Backend]) -> str:
    """Return the docstring of a backend's constructor: that of `__init__`, of the class, or else the summary."""
    told = None if cls.__init__ is object.__init__ else cls.__init__.__doc__
    return inspect.cleandoc(told or cls.__doc__ or cls.summary)


def check_backend(cls: type[Backend]) -> None:
    """Refuse a class that can't serve as a backend.

    Raises:
        TypeError: An attribute is missing or of a wrong type, or `open` is missing.
        ValueError: Its name can't be that of a constructor, or it claims what it has no method for.
    """
    name = getattr(cls, "name", None)
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        msg = f"A backend's name is of lower-case letters, digits and '_', as in with_<name>; got {name!r}."
        raise ValueError(msg)
    for attribute, kind in _ATTRIBUTES.items():
        check_type(f"{attribute} of backend {name!r}", getattr(cls, attribute, None), kind)
    for method in ("open", "kill", "health_checks", "job_script"):
        check_callable(f"{method} of backend {name!r}", getattr(cls, method))
    if missing := sorted(cls.__abstractmethods__):
        msg = f"Backend {name!r} has no method {missing[0]}()."
        raise TypeError(msg)
    if cls.capabilities.stops_running_work and not overrides(cls, "kill"):
        msg = f"Backend {name!r} claims stops_running_work but has no method kill()."
        raise ValueError(msg)


_ATTRIBUTES = {"summary": str, "capabilities": Capabilities, "needs_main_thread": bool, "unavailable": str}
