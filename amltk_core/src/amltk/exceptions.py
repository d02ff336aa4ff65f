"""The exceptions that amltk defines.

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
    │   ├── UnknownBackendError       (AttributeError)  no backend has that name
    │   ├── BackendNotInstalledError  (ImportError)     known, but its distribution is missing
    │   ├── BrokenBackendError                          installed, but it fails to load
    │   ├── NotSupportedError         (ValueError)      it does not support the request
    │   └── BatchSystemError          (RuntimeError)    a batch system refuses a job, or its jobs end early
    ├── WorkerDied                                      the process that ran a call has ended
    │   └── WorkerLost                                  it stopped answering and was killed
    ├── CallTimeoutError              (TimeoutError)    a call exceeded its timeout and was ended
    └── RemoteError                                     replaces an exception that cannot be sent

Bad arguments raise the ordinary `TypeError` and `ValueError`.
"""

from __future__ import annotations

import signal
from typing import Any, Literal


class AmltkError(Exception):
    """The base class of all exceptions of amltk."""


class SchedulerNotRunningError(AmltkError, RuntimeError):
    """A call was submitted while the scheduler was not accepting calls."""


class SchedulerAlreadyRunningError(AmltkError, RuntimeError):
    """`run()` or `async_run()` was called while the scheduler was running."""


class WrongThreadError(AmltkError, RuntimeError):
    """A call was submitted from a thread other than the thread of the run."""


class UnknownEventError(AmltkError, KeyError):
    """The emitter has no such event; the message lists its events."""

    def __str__(self) -> str:  # KeyError would show the repr of the message.
        return str(self.args[0])


class DuplicateEventError(AmltkError, ValueError):
    """The emitter has an event of this name already."""


class PluginAttachedError(AmltkError, ValueError):
    """The plugin object is attached to another task or scheduler already."""


class PluginError(AmltkError):
    """A requested plugin cannot be used."""


class PluginNotInstalledError(PluginError, ImportError):
    """The plugin is known, but the distribution that brings it is not installed."""


class BrokenPluginError(PluginError):
    """The plugin is installed, but it fails to load; the cause is chained."""


class BackendError(AmltkError):
    """A requested backend cannot be used."""


class UnknownBackendError(BackendError, AttributeError):
    """No installed or known distribution brings a backend of this name."""


class BackendNotInstalledError(BackendError, ImportError):
    """The backend is known, but the distribution that brings it is not installed."""


class BrokenBackendError(BackendError):
    """The backend is installed, but it fails to load; the cause is chained."""


class NotSupportedError(BackendError, ValueError):
    """The backend or the executor does not support the request."""


class BatchSystemError(BackendError, RuntimeError):
    """A batch system refuses a job, or its jobs end before their workers have started.

    Attributes:
        command: The command line; "" if the error is not about one command.
        output: The output of the command.
    """

    def __init__(self, message: str, *, command: str = "", output: str = "") -> None:
        """Make the error; `message` includes command and output."""
        super().__init__(message)
        self.command = command
        self.output = output


class WorkerDied(AmltkError):  # noqa: N818 - the usual term
    """The process that ran a call ended before the call did.

    Attributes:
        pid: The id of the process that died.
        exit_code: Its exit code, or minus the number of the signal that killed it; None if unknown.
        out_of_memory: Whether it was killed because memory ran out; False if unknown.
        stderr: The last lines that it wrote to stderr, if the backend keeps them.
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
        """Make the error; `message` names the call and what happened."""
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
    """The process that ran a call did not answer within its time limit, and was killed."""


class CallTimeoutError(AmltkError, TimeoutError):
    """A call exceeded its timeout, and its backend ended it.

    Attributes:
        timeout: The limit, in seconds.
        pid: The id of the process that ran the call, if it was a process.
    """

    def __init__(self, message: str, *, timeout: float, pid: int | None = None) -> None:
        """Make the error; `message` names the call."""
        super().__init__(message)
        self.timeout = timeout
        self.pid = pid


class RemoteError(AmltkError):
    """Replaces an exception that could not be sent from the process that raised it.

    Attributes:
        type_name: The qualified name of the original exception's class.
    """

    def __init__(self, message: str, type_name: str) -> None:
        """Take the original's text as `message`, and the name of its class as `type_name`."""
        super().__init__(message, type_name)
        self.type_name = type_name

    def __str__(self) -> str:
        return f"{self.type_name}: {self.args[0]}"


def add_note(error: BaseException, note: str) -> None:
    """Add a note to `error`, even if its class forbids setting attributes, as a frozen dataclass does."""
    attributes = attributes_of(error)
    notes = attributes.get("__notes__")
    attributes["__notes__"] = [*notes, note] if isinstance(notes, list) else [note]


# Users' classes may hide these attributes, by a property or a `__setattr__`; the functions below bypass that.


def attributes_of(error: BaseException) -> dict[str, Any]:
    """Return the `__dict__` of `error`, whatever its class defines."""
    attributes: dict[str, Any] = BaseException.__dict__["__dict__"].__get__(error)
    return attributes


def part_of(
    error: BaseException, name: Literal["__traceback__", "__cause__", "__context__", "__suppress_context__"]
) -> Any:
    """Return a traceback, cause or context of `error`, whatever its class defines."""
    return BaseException.__dict__[name].__get__(error)


def notes_of(error: BaseException) -> tuple[str, ...]:
    """Return the notes of `error`, whatever its class defines."""
    notes = attributes_of(error).get("__notes__")
    return tuple(note for note in notes if isinstance(note, str)) if isinstance(notes, (list, tuple)) else ()


NO_TEXT = "<its text is not available: "
"""The beginning of the text of an exception whose `__str__` raises."""


def text_of(error: BaseException) -> str:
    """Return the text of `error`, whatever its class defines."""
    try:
        return str(error)
    except Exception as failure:  # an exception whose own __str__ raises
        return f"{NO_TEXT}{type(failure).__name__}>"
