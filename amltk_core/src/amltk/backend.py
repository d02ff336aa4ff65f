"""The contract that a backend fulfils: what `Scheduler.with_<name>()` needs to know about it."""

from __future__ import annotations

import inspect
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Executor, Future
from dataclasses import dataclass, fields
from numbers import Real
from os import getpid
from threading import current_thread
from time import monotonic, time
from typing import Any, ClassVar, Literal, Protocol, TypeVar, runtime_checkable

from amltk.checks import check_callable, check_seconds, check_type
from amltk.exceptions import NotSupportedError

T = TypeVar("T")

_NAME = re.compile(r"[a-z][a-z0-9_]*")

OptionName = Literal["timeout", "priority", "resources"]
"""The name of a field of `CallOptions`."""


@dataclass(frozen=True, kw_only=True)
class CallOptions:
    """What is asked for one call, beside its function and arguments.

    Attributes:
        timeout: Seconds that the call may run; then the executor ends it, and its future fails with
            `CallTimeoutError`. None is no limit.
        priority: Of two calls that wait, the one with the higher number begins first.
        resources: What the call occupies while it runs, such as `{"GPU": 1}`; None is nothing.
    """

    timeout: float | None = None
    priority: int = 0
    resources: Mapping[str, float] | None = None

    def __post_init__(self) -> None:
        check_seconds("timeout", self.timeout, or_none=True, zero=False)
        if self.timeout is not None:
            object.__setattr__(self, "timeout", float(self.timeout))  # it may be any real number, and crosses processes
        if isinstance(self.priority, bool) or not isinstance(self.priority, int):
            msg = f"priority must be an integer, got {self.priority!r} of type {type(self.priority).__name__}."
            raise TypeError(msg)
        if self.resources is not None and not isinstance(self.resources, Mapping):
            msg = f"resources must be a mapping, as in {{'GPU': 1}}, got {self.resources!r}."
            raise TypeError(msg)
        for name, amount in (self.resources or {}).items():
            if not isinstance(name, str) or isinstance(amount, bool) or not isinstance(amount, Real):
                msg = f"resources must give a number for each name, as in {{'GPU': 1}}, got {name!r}: {amount!r}."
                raise TypeError(msg)
            if not 0 < amount < float("inf"):
                msg = f"resources must give a finite number above 0 for {name!r}, got {amount!r}."
                raise ValueError(msg)

    @property
    def given(self) -> tuple[OptionName, ...]:
        """The names of the options that differ from their defaults."""
        options: tuple[OptionName, ...] = ("timeout", "priority", "resources")
        return tuple(name for name in options if getattr(self, name) not in (None, 0, {}))

    def check_accepted(self, accepted: Iterable[OptionName], executor: str) -> None:
        """Refuse options that an executor does not honour; executors call this in `submit_call`.

        Args:
            accepted: The options that it honours.
            executor: Its name, for the message.

        Raises:
            NotSupportedError: Another option is given.
        """
        refused = [name for name in self.given if name not in accepted]
        if refused:
            msg = f"{executor} does not accept the option {refused[0]}={getattr(self, refused[0])!r} of a call; it "
            msg += f"accepts {', '.join(accepted) or 'none'}. `amltk backends --json` lists what each backend accepts."
            raise NotSupportedError(msg)


@runtime_checkable
class AcceptsOptions(Protocol):
    """An executor that takes options with a call. Its backend claims the same `accepts_options`.

    Attributes:
        accepts_options: The options that it honours; `submit_call` refuses all others with `NotSupportedError`.
    """

    accepts_options: tuple[OptionName, ...]

    def submit_call(
        self, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any], options: CallOptions
    ) -> Future[Any]:
        """Do as `submit(fn, *args, **kwargs)` does, with these options."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Execution:
    """Where and when a call ran: the `execution` of its future.

    It is None until a worker begins the call. While the call runs, `duration` is None. Of a call that was started
    more than once, it is that of the last start.

    Attributes:
        host: The name of the worker's machine.
        pid: The worker's process; None if that is not known.
        worker: The backend's name of the worker: of a thread, or an address; empty if workers have no names.
        started: When the call began, in seconds of `time.time()`, by the clock of the machine that noticed it; None
            if that is not known.
        duration: How many seconds it ran, by the monotonic clock of that machine; until the end was noticed, if the
            worker died.
        peak_memory: The most memory that the worker's process has held so far, in bytes, earlier calls included;
            None if that is not known.
    """

    host: str
    pid: int | None = None
    worker: str = ""
    started: float | None = None
    duration: float | None = None
    peak_memory: int | None = None

    @property
    def ended(self) -> float | None:
        """When the call ended, in seconds of `time.time()`; by the same clock as `started`."""
        return None if self.started is None or self.duration is None else self.started + self.duration


class ExecutionTimer:
    """Notes when a call begins and ends in this process; `execution` is only made when somebody asks for it."""

    __slots__ = ("_began", "_seconds", "_started", "_thread")

    def __init__(self) -> None:
        """Wait for the call to begin."""
        self._seconds: float | None = None
        self._started: float | None = None

    def start(self) -> None:
        """Note that the call begins, in this thread."""
        self._thread = current_thread()
        self._began = monotonic()
        self._started = time()

    def stop(self) -> None:
        """Note that it has ended."""
        self._seconds = monotonic() - self._began

    @property
    def execution(self) -> Execution | None:
        """What is known of the call; None before it begins."""
        if self._started is None:
            return None
        from platform import node  # whoever asks for no execution need not load it

        return Execution(
            host=node(), pid=getpid(), worker=self._thread.name, started=self._started, duration=self._seconds
        )


@runtime_checkable
class ReportsExecution(Protocol):
    """The future of an executor that reports where and when its calls run.

    Attributes:
        execution: None until a worker begins the call, or is known to have begun it. It is complete before the future
            is resolved.
    """

    @property
    def execution(self) -> Execution | None:
        """What is known so far."""


class ExecutionFuture(Future[T]):
    """A future whose `execution` is set by its executor."""

    execution: Execution | None = None


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
