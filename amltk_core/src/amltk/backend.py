"""The contract that a backend fulfils: what `Scheduler.with_<name>()` needs to know about it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Executor, Future
from dataclasses import dataclass, fields
from numbers import Real
from os import getpid
from threading import current_thread
from time import monotonic, time
from typing import Any, Literal, Protocol, TypeVar, runtime_checkable

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
class Examination:
    """Something that `amltk doctor` asks of a backend before it starts it: is the submit command there, say.

    Attributes:
        name: What is looked at, in a word or two; no two of a backend have the same.
        examine: Returns what was found, in a line, or raises an exception that says what is wrong and
            what mends it. What it prints last is shown if it does not come to an end.
        runs: Whether it starts something, a job that waits for a place, say: `--no-run` leaves it out.
    """

    name: str
    examine: Callable[[], str]
    runs: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name.strip() or not self.name.isprintable():
            msg = f"An examination's name is a word or two, as in 'submit command'; got {self.name!r}."
            raise ValueError(msg)
        check_callable(f"examine= of the examination {self.name!r}", self.examine)
        check_type(f"runs= of the examination {self.name!r}", self.runs, bool)


@dataclass(frozen=True, kw_only=True)
class Backend:
    """A way to get work done, registered by a plugin under a name.

    Attributes:
        name: What stands behind `with_`: lower-case letters, digits and underscores.
        summary: One line for people who choose.
        create: Makes the executor when a run starts. Its signature and docstring are those of
            `Scheduler.with_<name>`. What the backend wraps is imported here, not when the plugin
            module is.
        capabilities: What it can do.
        kill: Ends the work that runs in an executor of `create`, children included, and comes
            back when it is gone; the executor is shut down afterwards. None if it can't be done.
        check: Takes what `create` takes, when the scheduler is made, and raises `TypeError` or
            `ValueError` for what `create` could not use. It starts nothing.
        examinations: Takes what `create` takes, and gives what `amltk doctor` performs, one after the
            other up to the first that fails. A generator is closed after the last one, whatever
            became of it: there it ends what they have started.
        job_script: Takes what `create` takes, and returns the script that a batch system would be
            given for a worker, which `amltk doctor NAME --job-script` prints. It starts nothing.
        needs_main_thread: Whether the executor takes no calls when the main thread of the program has
            ended, as what builds on `concurrent.futures`, asyncio or atexit does. Runs that another
            thread begins then are refused, with a sentence that says so.
        unavailable: Why it can't run calls on this system, and what to use instead: `amltk backends` says
            so. Empty where it can.
    """

    name: str
    summary: str
    create: Callable[..., Executor]
    capabilities: Capabilities
    kill: Callable[[Executor], None] | None = None
    check: Callable[..., None] | None = None
    examinations: Callable[..., Iterable[Examination]] | None = None
    job_script: Callable[..., str] | None = None
    needs_main_thread: bool = True
    unavailable: str = ""

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not _NAME.fullmatch(self.name):
            msg = f"A backend's name is of lower-case letters, digits and '_', as in with_<name>; got {self.name!r}."
            raise ValueError(msg)
        for field in ("create", "kill", "check", "examinations", "job_script"):
            value = getattr(self, field)
            if not callable(value) and (value is not None or field == "create"):
                msg = f"{field}= of backend {self.name!r} must be callable, got {value!r}."
                raise TypeError(msg)
        check_type(f"unavailable= of backend {self.name!r}", self.unavailable, str)
        check_type(f"needs_main_thread= of backend {self.name!r}", self.needs_main_thread, bool)
        if self.capabilities.stops_running_work and self.kill is None:
            msg = f"Backend {self.name!r} claims stops_running_work but has no kill=."
            raise ValueError(msg)
