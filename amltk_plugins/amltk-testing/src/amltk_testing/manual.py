"""An executor whose calls begin and end when the test asks for it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import Executor, Future
from typing import Any, NamedTuple

from amltk.backend import CallOptions, OptionName


class ManualCall(NamedTuple):
    """A call that was submitted to a `ManualExecutor`, with the options that its task has."""

    future: Future[Any]
    function: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    options: CallOptions = CallOptions()


class ManualExecutor(Executor):
    """Runs nothing by itself: each call is taken up, and ends, when the test says so.

    Example:
        ```python
        executor = ManualExecutor()
        scheduler = Scheduler(executor)
        scheduler.on_start(lambda: scheduler.submit(print, "hello"))
        scheduler.on_future_submitted(lambda future: executor.fail(0, OSError("no paper")))
        ```

    Attributes:
        calls: What was submitted, in that order.
    """

    accepts_options: tuple[OptionName, ...] = ("timeout", "priority", "resources")

    def __init__(self) -> None:
        """Begin without calls."""
        self.calls: list[ManualCall] = []
        self._open = True

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Take a call, and leave it alone.

        Raises:
            RuntimeError: The executor was shut down.
        """
        return self._take(ManualCall(Future(), fn, args, kwargs))

    def submit_call(
        self, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any], options: CallOptions
    ) -> Future[Any]:
        """Take a call with options, of which all are accepted; what they lead to is for the test to say.

        Raises:
            RuntimeError: The executor was shut down.
        """
        return self._take(ManualCall(Future(), fn, args, dict(kwargs), options))

    def _take(self, call: ManualCall) -> Future[Any]:
        if not self._open:
            msg = "This ManualExecutor was shut down and takes no more calls; make a new one."
            raise RuntimeError(msg)
        self.calls.append(call)
        return call.future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: ARG002 - there is no one to wait for
        """Take no more calls, and cancel those that were not taken up, if `cancel_futures`."""
        self._open = False
        if cancel_futures:
            for call in self.calls:
                call.future.cancel()

    def start(self, index: int = 0) -> Future[Any]:
        """Let a worker take up a call: from now on it runs, and can't be cancelled.

        Raises:
            RuntimeError: It was cancelled, or has ended.
            IndexError: So many calls were not submitted; that is the same for what is below.
        """
        future = self._call(index).future
        if future.done() or not future.set_running_or_notify_cancel():
            msg = f"Call {index} can't be taken up: it is {future!r}."
            raise RuntimeError(msg)
        return future

    def finish(self, index: int = 0) -> None:
        """Do a call, here and now; it is taken up before, if it has not been."""
        _, function, args, kwargs, _ = self._call(index)
        self._taken_up(index)
        try:
            result = function(*args, **kwargs)
        except BaseException as error:  # whatever it raises is the call's outcome
            self.fail(index, error)
        else:
            self.resolve(index, result)

    def resolve(self, index: int = 0, result: Any = None) -> None:
        """End a call with this result, without doing it."""
        self._taken_up(index).set_result(result)

    def fail(self, index: int, error: BaseException) -> None:
        """End a call with this exception, without doing it.

        Raises:
            TypeError: `error` is no exception.
        """
        if not isinstance(error, BaseException):
            msg = f"error must be an exception, as in ValueError('why'), got {error!r} of type {type(error).__name__}."
            raise TypeError(msg)
        self._taken_up(index).set_exception(error)

    def _taken_up(self, index: int) -> Future[Any]:
        future = self._call(index).future
        return future if future.running() else self.start(index)

    def _call(self, index: int) -> ManualCall:
        try:
            return self.calls[index]
        except IndexError:
            msg = f"There is no call {index}: {len(self.calls)} were submitted so far, the first one is call 0."
            raise IndexError(msg) from None
