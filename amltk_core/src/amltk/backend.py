"""`Backend`, the base class of backends, with `Capabilities` and `HealthCheck`."""

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
    """The capabilities of a backend. Claim only what holds: the scheduler and its users rely on it.

    Attributes:
        stops_running_work: `kill` ends the running calls, and their child processes.
        survives_dead_worker: When a worker dies, only the call that it ran fails.
        needs_pickling: Functions, arguments and results cross a process boundary.
        crosses_machines: Workers may run on other machines.
        takes_any_function: Functions that workers can't import work, too: lambdas, closures, functions of the script.
        carries_any_exception: An exception of a call arrives whole, even one that pickle refuses.
        blocks_the_run: Calls run in the thread of the run, which does nothing else meanwhile.
        accepts_options: The fields of `CallOptions` that its executors honour: they are `AcceptsOptions`. With
            `"timeout"`, a call that runs longer is ended, and its future fails with `CallTimeoutError`.
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
    """A check of `amltk doctor` before it starts a backend: whether a submit command exists, for example.

    Attributes:
        name: The name of the check, in a word or two; unique within a backend.
        check: Returns the finding, in one line, or raises an exception with the fault and its fix. If it
            does not return in time, its last output is shown.
        runs: Whether it starts something, such as a job that waits in a queue: `--no-run` skips it.
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
    """Base class of backends. An entry point of the group `amltk.backends` leads to the subclass.

    `__init__` takes the options. Its signature and docstring are those of `Scheduler.with_<name>`, which makes an
    object of the class. It raises `TypeError` or `ValueError` for values that `open` could not use, and starts
    nothing.

    The module of the class must not import the library that the backend wraps; `open` does.

    Attributes:
        name: The name after `with_`: lower-case letters, digits and underscores; also that of the entry point.
        summary: One line that helps users to choose.
        capabilities: Its capabilities.
        needs_main_thread: Whether the executor refuses calls after the main thread of the program has
            ended, as those do that build on `concurrent.futures`, asyncio or atexit. A run that another
            thread starts afterwards is refused with an error.
        unavailable: Why it can't run calls on this system, and what to use instead; `amltk backends` shows
            it. Empty if it can.
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    capabilities: ClassVar[Capabilities] = Capabilities()
    needs_main_thread: ClassVar[bool] = True
    unavailable: ClassVar[str] = ""

    @abstractmethod
    def open(self) -> Executor:
        """Return a new executor. Each run calls it at its start, and shuts the executor down at its end."""

    def kill(self, executor: Executor) -> None:
        """End the running calls of an executor, child processes included, and return when they have ended.

        The run shuts the executor down afterwards. Override it to claim `stops_running_work`.
        """
        raise NotImplementedError

    def health_checks(self) -> Iterable[HealthCheck]:
        """Return the checks of `amltk doctor`, which performs them in order up to the first that fails.

        A generator is closed after the last check, so its `finally` can end what the checks have started.
        """
        return ()

    def job_script(self) -> str:
        """Return the job script of a worker, without starting anything.

        `amltk doctor NAME --job-script` prints it.
        """
        raise NotImplementedError


def overrides(backend: Backend | type[Backend], method: str) -> bool:
    """Return whether a backend overrides an optional method of `Backend`."""
    cls = backend if isinstance(backend, type) else type(backend)
    return getattr(cls, method) is not getattr(Backend, method)


def description_of(cls: type[Backend]) -> str:
    """Return the docstring of a backend's constructor: that of `__init__` or of the class, or the summary."""
    told = None if cls.__init__ is object.__init__ else cls.__init__.__doc__
    return inspect.cleandoc(told or cls.__doc__ or cls.summary)


def check_backend(cls: type[Backend]) -> None:
    """Check the attributes and methods of a backend's class.

    Raises:
        TypeError: An attribute is missing or of a wrong type, or `open` is missing.
        ValueError: Its name can't be that of a constructor, or it claims a capability without the method.
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
