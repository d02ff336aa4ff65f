"""What a plugin can do to a call: the moments that plugins of a task and of a scheduler share, and its answers.

task(...)            pre_submit ──tuple──> next plugin, in the end a worker
                        ├── Refusal, None: no call
                        └── Answer: a call without a worker
it is submitted      call_options: timeout, priority, resources
the call has failed  retry_after ──seconds──> it runs again
it has ended         before_delivery, then everybody is told
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
"""What goes to a worker: a function, its positional and its keyword arguments."""

_NOTHING: Any = object()


@dataclass(frozen=True)
class Refusal:
    """Returned by `pre_submit`: the call is not submitted.

    Attributes:
        reason: Why, in words that stand after "refused it: ", such as "3 calls are under way".
    """

    reason: str

    def __post_init__(self) -> None:
        check_type("reason", self.reason, str)
        if not self.reason.strip():
            msg = 'reason must not be empty: say why the call is refused, as in Refusal("the budget is spent").'
            raise ValueError(msg)


class Answer:
    """How a call ends. Returned by `pre_submit`: it ends so without a worker.

    Attributes:
        value: What the call returns; None if it raises.
        exception: What the call raises; None if it returns.
    """

    __slots__ = ("exception", "value")

    value: Any
    exception: BaseException | None

    def __init__(self, value: Any = _NOTHING, /, *, exception: BaseException | None = None) -> None:
        """Give either a value, which may be None, or an exception.

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
    """Say whether a plugin has a `before_delivery` of its own: without one, no call is held back."""
    return type(plugin).before_delivery is not CallPlugin.before_delivery


class CallPlugin:
    """What `TaskPlugin` and `SchedulerPlugin` have in common; subclass one of these.

    All methods are called in the thread of the run, one at a time.

    Attributes:
        name: What the plugin is called; the name of its entry point, if it has one.
    """

    name: ClassVar[str] = ""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if not cls.name and CallPlugin not in cls.__bases__:
            cls.name = cls.__name__

    def events(self) -> tuple[Event[...], ...]:
        """Return the events that the plugin adds; those among its class's attributes, by default."""
        return events_of(type(self))

    def pre_submit(
        self, function: Callable[..., Any], /, *args: Any, **kwargs: Any
    ) -> Submission | Refusal | Answer | None:
        """Look at a call before it is submitted.

        The plugins of the scheduler are asked first, then those of the task, in the order in which they were given,
        each with what the one before it returned.

        Returns:
            What to submit, as `(function, args, kwargs)`; a `Refusal` of the call, or None to refuse it without a
            reason; or an `Answer`, with which the call ends in a later turn of the loop. After a refusal or an answer
            no other plugin is asked.
        """
        return function, args, kwargs

    def call_options(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> CallOptions | None:  # noqa: ARG002
        """Return the timeout, priority or resources of a call, which all plugins have let pass.

        Asked with what goes to the worker, in the order of `pre_submit`. An option that a later plugin gives takes
        the place of one from a plugin before it, or of `task.timeout`.

        Returns:
            The options; None, as by default, to give none. An option that the executor does not accept raises
            `NotSupportedError` where the call is submitted.
        """
        return None

    def retry_after(self, future: CallFuture[Any], error: BaseException) -> float | None:  # noqa: ARG002
        """Say whether a call that failed is to be run again.

        Asked before anybody is told of the failure. The call stays one: while it waits and runs
        again its future is pending, and only what comes of it in the end is an event. The plugins
        are asked in their order until one says yes; none is asked when the run is ending, or when the
        exception is that of an `Answer`.

        Args:
            future: The call: what was submitted is in its `function`, `args` and `kwargs`.
            error: What it raised, or a `WorkerDied`, `CallTimeoutError` ...

        Returns:
            Seconds to wait before the same is submitted again; None, as by default, to let the call fail.
        """
        return None

    def before_delivery(self, future: CallFuture[Any], outcome: Answer) -> Awaitable[None] | None:  # noqa: ARG002
        """Hear how a call has ended, before anybody else does; the outcome can't be changed.

        Override it by an `async def` method for what takes time, such as writing to a disk: the run awaits it, while
        workers and callbacks go on. This call is told afterwards, and calls that end after it are told after it.
        An ordinary method holds up everything as long as it runs. What it raises comes to `on_exception=` of the run,
        and the call is told all the same.

        Not called for a cancelled call. A run that ends at once waits 2 seconds; then the call is told as cancelled.

        Args:
            future: The call, whose future is pending yet.
            outcome: Its value or exception; `pre_submit` may return it for an equal call.
        """
        return None
