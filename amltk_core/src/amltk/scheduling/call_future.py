"""The future of one call."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, TypeVar

from amltk.describe import describe_call, describe_value, name_of

if TYPE_CHECKING:
    from amltk.backend import CallOptions, Execution
    from amltk.scheduling.task import Task

R = TypeVar("R")


class CallFuture(asyncio.Future[R]):
    """The future of a call, which callbacks receive: an `asyncio.Future` with function and arguments.

    Attributes:
        source: The executor's future of the call.
        task: The task of the call; None for `scheduler.submit`.
        function: The submitted function, as plugins changed it.
        args: Its positional arguments.
        kwargs: Its keyword arguments.
    """

    __slots__ = ("args", "function", "kwargs", "own_options", "source", "task")

    source: Future[R]
    task: Task[..., R] | None
    function: Callable[..., R]
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    own_options: CallOptions  # set only if plugins gave some: most calls have none

    @property
    def options(self) -> CallOptions | None:
        """The options with which the call is submitted: those of the task, as plugins changed them for this call."""
        own: CallOptions | None = getattr(self, "own_options", None)
        return own if own is not None or self.task is None else self.task._options

    @property
    def execution(self) -> Execution | None:
        """Where and when the call ran or runs; None before it begins, and on backends that don't report it.

        It is complete when `on_result` and `on_exception` are called.
        """
        return getattr(self.source, "execution", None)

    @property
    def name(self) -> str:
        """The name of the task, or of the function."""
        return self.task.name if self.task is not None else name_of(self.function)

    def describe(self) -> str:
        """Return the call as text, for people: `train(3, lr=0.1)`, long values cut short."""
        text = describe_call(self.function, self.args, self.kwargs)
        return text if self.name == name_of(self.function) else f"{text} of task {self.name!r}"

    def cancel(self, msg: Any | None = None) -> bool:
        """Cancel the call, if it has not started yet or the executor can stop it.

        Returns:
            Whether it was cancelled; its events follow. Unlike a plain `asyncio.Future`, it returns False
            if the call continues: no result is dropped silently. To wait with a time limit, use
            `asyncio.wait_for(asyncio.shield(future), seconds)`.
        """
        return self.source.cancel() and self.mark_cancelled(msg)

    def fail(self, error: BaseException) -> None:
        """Set the exception of the call."""
        if isinstance(error, StopIteration):  # futures refuse it, since `await` could not raise it
            replacement = RuntimeError(f"the call raised {describe_value(error)}")
            replacement.__cause__ = error
            self.set_exception(replacement)
        else:
            self.set_exception(error)
        self.exception()  # marks it as retrieved: an event reports it, so the future must not warn

    def mark_cancelled(self, msg: Any | None = None) -> bool:
        """Set the future to cancelled, after the call was cancelled."""
        return super().cancel(msg)
