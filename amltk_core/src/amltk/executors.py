"""Protocols of executors beyond `concurrent.futures.Executor`; import them from `amltk.backend`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from numbers import Real
from os import getpid
from threading import current_thread
from time import monotonic, time
from typing import Any, Literal, Protocol, TypeVar, runtime_checkable

from amltk.checks import check_seconds
from amltk.exceptions import NotSupportedError

T = TypeVar("T")

OptionName = Literal["timeout", "priority", "resources"]
"""The name of a field of `CallOptions`."""


@dataclass(frozen=True, kw_only=True)
class CallOptions:
    """The options of one call, besides its function and arguments.

    Attributes:
        timeout: Seconds that the call may run; then the executor ends it, and its future fails with
            `CallTimeoutError`. None is no limit.
        priority: The waiting call with the higher number begins first.
        resources: The resources that the call occupies while it runs, such as `{"GPU": 1}`; None is none.
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
        """Check that an executor honours all given options; executors call this in `submit_call`.

        Args:
            accepted: The options that the executor honours.
            executor: The name of the executor, for the message.

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
        """Submit a call as `submit(fn, *args, **kwargs)`, with these options."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Execution:
    """Where and when a call ran: the `execution` of its future.

    It is None until a worker begins the call. While the call runs, `duration` is None. If a call is started more than
    once, it describes the last start.

    Attributes:
        host: The name of the worker's machine.
        pid: The worker's process; None if unknown.
        worker: The backend's name of the worker: that of a thread, or an address; empty if workers have no names.
        started: When the call began, in seconds of `time.time()`, by the clock of the machine that noticed it; None
            if unknown.
        duration: The seconds for which it ran, by the monotonic clock of that machine; until the end was noticed, if
            the worker died.
        peak_memory: The most memory of the worker's process so far, in bytes, earlier calls included; None if
            unknown.
    """

    host: str
    pid: int | None = None
    worker: str = ""
    started: float | None = None
    duration: float | None = None
    peak_memory: int | None = None

    @property
    def ended(self) -> float | None:
        """When the call ended, in seconds of `time.time()`, by the same clock as `started`."""
        return None if self.started is None or self.duration is None else self.started + self.duration


class ExecutionTimer:
    """Notes when a call begins and ends in this process; makes its `execution` on request."""

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
        """The execution so far; None before the call begins."""
        if self._started is None:
            return None
        from platform import node  # imported only on request

        return Execution(
            host=node(), pid=getpid(), worker=self._thread.name, started=self._started, duration=self._seconds
        )


@runtime_checkable
class ReportsExecution(Protocol):
    """The future of an executor that reports where and when its calls run.

    Attributes:
        execution: None until a worker is known to have begun the call; complete before the future is resolved.
    """

    @property
    def execution(self) -> Execution | None:
        """The execution so far; None before the call begins."""


class ExecutionFuture(Future[T]):
    """A future whose executor sets its `execution`."""

    execution: Execution | None = None


@runtime_checkable
class CarriesMessages(Protocol):
    """An executor that carries messages between the program and a running call.

    Messages of a call arrive in the order in which it sent them, all of them before its future is resolved.
    """

    def send(self, future: Future[Any], data: bytes) -> None:
        """Send a message to the call of `future`."""

    def on_message(self, future: Future[Any], callback: Callable[[bytes], object]) -> None:
        """Register `callback` for each message that the call of `future` sends; any thread may call it."""


@runtime_checkable
class SharesObjects(Protocol):
    """An executor that sends an object to each worker once, however many calls use it."""

    def share(self, obj: Any, /) -> Any:
        """Return a stand-in for `obj`: a call that has it among its arguments gets the object."""

    def release(self, shared: Any, /) -> None:
        """Release a shared object, which no call uses any more."""
