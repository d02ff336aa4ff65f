"""The methods that task plugins and scheduler plugins share, and what `pre_submit` returns.

task(...)            pre_submit ──tuple──> next plugin, in the end a worker
                        ├── Refusal, None: no call
                        └── Answer: a call without a worker
it is submitted      call_options: timeout, priority, resources
the call has failed  retry_after ──seconds──> it runs again
it has ended         before_delivery, then the events
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from amltk.checks import check_type
from amltk.describe import describe_value
from amltk.events import Event, events_of

if TYPE_CHECKING:
    from amltk.backend import CallOptions
    from amltk.scheduling.call_future import CallFuture

Submission = tuple[Callable[..., Any], tuple[Any, ...], Mapping[str, Any]]
"""A call to submit: a function, its positional and its keyword arguments."""

_NOTHING: Any = object()


@dataclass(frozen=True)
class Refusal:
    """Returned by `pre_submit`: the call is not submitted.

    Attributes:
        reason: The reason, worded to follow "refused it: ", such as "3 calls are under way".
    """

    reason: str

    def __post_init__(self) -> None:
        check_type("reason", self.reason, str)
        if not self.reason.strip():
            msg = 'reason must not be empty: say why the call is refused, as in Refusal("the budget is spent").'
            raise ValueError(msg)


class Answer:
    """The outcome of a call. Returned by `pre_submit`: the call ends without a worker.

    Attributes:
        value: The return value; None if the call raises.
        exception: The exception; None if the call returns.
    """

    __slots__ = ("exception", "value")

    value: Any
    exception: BaseException | None

    def __init__(self, value: Any = _NOTHING, /, *, exception: BaseException | None = None) -> None:
        """Take either a value, which may be None, or an exception.

        Raises:
            TypeError: Both or neither are given, or `exception` is no exception.
        """
        if (value is _NOTHING) is (exception is None):
            given = "neither" if exception is None else "both"
            msg = f"Answer takes a value, as in Answer(None), or an exception, Answer(exception=error); got {given}."
            raise TypeError(msg)
        if exception is not None and not isinstance(exception, BaseException):
            hint = f" Make an object of it: {exception.__name__}(...)." if isinstance(exception, type) else ""
            msg = f"exception must be an exception, got {describe_value(exception)}.{hint}"
            raise TypeError(msg)
        self.value = None if value is _NOTHING else value
        self.exception = exception

    def __repr__(self) -> str:
        if self.exception is not None:
            return f"Answer(exception={describe_value(self.exception)})"
        return f"Answer({describe_value(self.value)})"


def hears_of_ends(plugin: CallPlugin) -> bool:
    """Return whether a plugin overrides `before_delivery`; otherwise no call is held back."""
    return type(plugin).before_delivery is not CallPlugin.before_delivery


class CallPlugin:
    """Base class of `TaskPlugin` and `SchedulerPlugin`; subclass one of these.

    All methods are called in the thread of the run, one at a time.

    Attributes:
        name: The name of the plugin, and of its entry point, if it has one.
    """

    name: ClassVar[str] = ""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if not cls.name and CallPlugin not in cls.__bases__:
            cls.name = cls.__name__

    def events(self) -> tuple[Event[...], ...]:
        """Return the events that the plugin adds: by default, those among the attributes of its class."""
        return events_of(type(self))

    def pre_submit(
        self, function: Callable[..., Any], /, *args: Any, **kwargs: Any
    ) -> Submission | Refusal | Answer | None:
        """Change, refuse or answer a call before it is submitted.

        The scheduler's plugins come first, then the task's, in the order in which they were given. Each receives the
        call as the plugin before it returned it.

        Returns:
            The call to submit, as `(function, args, kwargs)`; a `Refusal`, or None to refuse without a reason; or an
            `Answer`, with which the call ends in a later turn of the loop. After a refusal or an answer, no other
            plugin is asked.
        """
        return function, args, kwargs

    def call_options(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> CallOptions | None:  # noqa: ARG002
        """Return timeout, priority or resources of a call that no plugin refused or answered.

        Called with the function and arguments that the worker gets, in the order of `pre_submit`. An option of a later
        plugin replaces that of an earlier one, or `task.timeout`.

        Returns:
            The options; None, the default, for none. An option that the executor does not accept raises
            `NotSupportedError` where the call is submitted.
        """
        return None

    def retry_after(self, future: CallFuture[Any], error: BaseException) -> float | None:  # noqa: ARG002
        """Return whether and when a failed call runs again.

        Called before any event of the failure. It stays one call: its future is pending while it waits and
        runs again, and only the last outcome is an event. The plugins are asked in their order until one
        returns a number; none is asked when the run is ending, or for the exception of an `Answer`.

        Args:
            future: The future of the call, with its `function`, `args` and `kwargs`.
            error: The exception of the call, or a `WorkerDied`, a `CallTimeoutError` ...

        Returns:
            Seconds to wait before the call is submitted again; None, the default, to let it fail.
        """
        return None

    def before_delivery(self, future: CallFuture[Any], outcome: Answer) -> Awaitable[None] | None:  # noqa: ARG002
        """Receive the outcome of a call before its events; the outcome can't be changed.

        Override it by an `async def` method for slow work, such as writing to a disk: the run awaits it, while
        workers and callbacks continue. The events of this call follow afterwards, then those of calls that ended after
        it. An ordinary method blocks the run while it executes. The run handles its exceptions by `on_exception=`, and
        delivers the call all the same.

        Not called for a cancelled call. A run that ends at once waits 2 seconds; then the call ends as cancelled.

        Args:
            future: The future of the call, which is still pending.
            outcome: The value or exception of the call; `pre_submit` may return it for an equal call.
        """
        return None
