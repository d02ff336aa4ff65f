"""Every error that amltk raises of its own accord.

    AmltkError
    ├── SchedulerNotRunningError      (RuntimeError)    a call submitted while no run accepts calls
    ├── SchedulerAlreadyRunningError  (RuntimeError)    a second `run()` while the first one runs
    ├── WrongThreadError              (RuntimeError)    a call submitted from outside the run's thread
    ├── UnknownEventError             (KeyError)        an event that the emitter does not have
    ├── DuplicateEventError           (ValueError)      an event that the emitter has already
    ├── PluginAttachedError           (ValueError)      one plugin object attached to two tasks
    ├── PluginError                                     an installed plugin cannot be used
    │   ├── PluginNotInstalledError   (ImportError)     known, but its distribution is missing
    │   └── BrokenPluginError                           installed, but it fails to load
    ├── BackendError
    │   ├── UnknownBackendError       (AttributeError)  nobody offers a backend of that name
    │   ├── BackendNotInstalledError  (ImportError)     known, but its distribution is missing
    │   ├── BrokenBackendError                          installed, but it fails to load
    │   ├── NotSupportedError         (ValueError)      it cannot do what is asked of it
    │   └── BatchSystemError          (RuntimeError)    a batch system takes no job, or its jobs do not live
    ├── WorkerDied                                      the process that ran a call is gone
    │   └── WorkerLost                                  it did not answer any more, and was ended
    ├── CallTimeoutError              (TimeoutError)    a call took longer than it may, and was ended
    └── RemoteError                                     stands in for an error that cannot be carried

Bad arguments raise the ordinary `TypeError` and `ValueError`.
"""

from __future__ import annotations

import signal
from typing import Any, Literal


class AmltkError(Exception):
    """The base of every error that amltk defines."""


class SchedulerNotRunningError(AmltkError, RuntimeError):
    """A call was submitted while the scheduler was not accepting calls."""


class SchedulerAlreadyRunningError(AmltkError, RuntimeError):
    """`run()` or `async_run()` was called while the scheduler was running."""


class WrongThreadError(AmltkError, RuntimeError):
    """A call was submitted from a thread other than the one in which the run takes place."""


class UnknownEventError(AmltkError, KeyError):
    """The emitter has no such event; the message lists those it has."""

    def __str__(self) -> str:  # KeyError would show the repr of the message.
        return str(self.args[0])


class DuplicateEventError(AmltkError, ValueError):
    """The emitter has an event of this name already."""


class PluginAttachedError(AmltkError, ValueError):
    """The plugin object belongs to another task already."""


class PluginError(AmltkError):
    """A plugin that is asked for cannot be used."""


class PluginNotInstalledError(PluginError, ImportError):
    """The plugin is known, but the distribution that brings it is not installed."""


class BrokenPluginError(PluginError):
    """The plugin is installed, but it fails to load; the cause is chained."""


class BackendError(AmltkError):
    """A backend that is asked for cannot be used."""


class UnknownBackendError(BackendError, AttributeError):
    """No installed distribution offers a backend of this name, and none is known to."""


class BackendNotInstalledError(BackendError, ImportError):
    """The backend is known, but the distribution that brings it is not installed."""


class BrokenBackendError(BackendError):
    """The backend is installed, but it fails to load; the cause is chained."""


class NotSupportedError(BackendError, ValueError):
    """The backend, or the executor, cannot do what is asked of it."""


class BatchSystemError(BackendError, RuntimeError):
    """A batch system does not take a job, or the jobs that it takes do not live.

    Attributes:
        command: What was asked of it, as a command line; "" if it is not about one command.
        output: What it said.
    """

    def __init__(self, message: str, *, command: str = "", output: str = "") -> None:
        """Describe it: `message` holds command and output as well."""
        super().__init__(message)
        self.command = command
        self.output = output


class WorkerDied(AmltkError):  # noqa: N818 - an event that befell the call, named as the field names it
    """The process that ran a call ended before the call did.

    Attributes:
        pid: The id of the process that died.
        exit_code: Its exit code; negative is the number of the signal that killed it; None where
            neither is known.
        out_of_memory: Whether it was killed because memory ran out. False is said where that can't be known.
        stderr: The last lines that it wrote to stderr, where the backend keeps them.
    """

    def __init__(
        self,
        message: str,
        *,
        pid: int | None = None,
        exit_code: int | None = None,
        out_of_memory: bool = False,
        stderr: str = "",
    ) -> None:
        """Describe a death: `message` says what ran and what happened."""
        super().__init__(message)
        self.pid = pid
        self.exit_code = exit_code
        self.out_of_memory = out_of_memory
        self.stderr = stderr

    @property
    def signal(self) -> signal.Signals | int | None:
        """The signal that killed the process, a number if it has no name; None if the process exited by itself."""
        if self.exit_code is None or self.exit_code >= 0:
            return None
        try:
            return signal.Signals(-self.exit_code)
        except ValueError:  # a real-time signal
            return -self.exit_code


class WorkerLost(WorkerDied):
    """The process that ran a call did not answer within the time set for that, and was ended."""


class CallTimeoutError(AmltkError, TimeoutError):
    """A call took longer than its task allows, and was ended by its backend.

    Attributes:
        timeout: How long it was allowed to take, in seconds.
        pid: The id of the process that ran it, where it was one.
    """

    def __init__(self, message: str, *, timeout: float, pid: int | None = None) -> None:
        """Describe it: `message` says what ran."""
        super().__init__(message)
        self.timeout = timeout
        self.pid = pid


class RemoteError(AmltkError):
    """Stands in for an exception that could not be carried from where it was raised.

    Attributes:
        type_name: The qualified name of the original exception's class.
    """

    def __init__(self, message: str, type_name: str) -> None:
        """Carry the original's text in `message`, its class's name in `type_name`."""
        super().__init__(message, type_name)
        self.type_name = type_name

    def __str__(self) -> str:
        return f"{self.type_name}: {self.args[0]}"


def add_note(error: BaseException, note: str) -> None:
    """Add a note to `error`, also if its class lets no attribute be set, as an exception that is a frozen dataclass."""
    attributes = attributes_of(error)
    notes = attributes.get("__notes__")
    attributes["__notes__"] = [*notes, note] if isinstance(notes, list) else [note]


# The users' classes may hide or guard these, with a property or a `__setattr__` of their own; Python's own are below.


def attributes_of(error: BaseException) -> dict[str, Any]:
    """Return the dictionary of the attributes of `error`, whatever its class does."""
    attributes: dict[str, Any] = BaseException.__dict__["__dict__"].__get__(error)
    return attributes


def part_of(
    error: BaseException, name: Literal["__traceback__", "__cause__", "__context__", "__suppress_context__"]
) -> Any:
    """Return what Python keeps with an exception, whatever its class does."""
    return BaseException.__dict__[name].__get__(error)


def notes_of(error: BaseException) -> tuple[str, ...]:
    """Return the notes of `error`, whatever its class does."""
    notes = attributes_of(error).get("__notes__")
    return tuple(note for note in notes if isinstance(note, str)) if isinstance(notes, (list, tuple)) else ()


NO_TEXT = "<its text cannot be had: "
"""How the text of an exception begins that has none: its own `__str__` raises."""


def text_of(error: BaseException) -> str:
    """Return what `error` says, whatever its class does."""
    try:
        return str(error)
    except Exception as failure:  # an exception whose own __str__ raises
        return f"{NO_TEXT}{type(failure).__name__}>"
