"""A call on its way through the pool, and its future."""

from __future__ import annotations

import logging
import threading
from _thread import RLock
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, InvalidStateError
from concurrent.futures._base import CANCELLED, CANCELLED_AND_NOTIFIED, FINISHED, PENDING, RUNNING
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeVar

from amltk.describe import describe_call
from amltk_processes._frames import CHUNK, Memory
from amltk_processes._pickling import Function

if TYPE_CHECKING:
    from amltk.backend import Execution

_log = logging.getLogger("amltk_processes")

T = TypeVar("T")


class _Condition(RLock):  # type: ignore[misc] # typeshed calls it final; it is not
    """The lock of a future; it makes a `threading.Condition` only if a thread waits.

    A condition is half a dozen objects, and few futures need one. In a burst of calls, making them and collecting
    garbage among them takes about as long as everything else that the pool does.
    """

    _waited_for: threading.Condition | None = None

    # The caller of both holds the lock.

    def wait(self, timeout: float | None = None) -> bool:
        if self._waited_for is None:
            self._waited_for = threading.Condition(self)
        return self._waited_for.wait(timeout)

    def notify_all(self) -> None:
        if self._waited_for is not None:
            self._waited_for.notify_all()
            self._waited_for = None  # it is a circle of references, and a future ends only once


Ran = tuple[int | None, float | None, float | None, int | None]
"""A call's execution: pid, start time, seconds, peak memory in bytes; None where a value is not known."""


class HasWorker(Protocol):
    """The worker that has the call of a future."""

    def execution(self, future: PoolFuture[Any]) -> Ran | None:
        """Return what is known of the call if it runs."""


class PoolFuture(Future[T]):
    """The future of a call, which can be cancelled even when the call runs.

    Attributes:
        ran: The call's execution, or the worker to ask for it; None before a worker has the call.
    """

    ran: Ran | HasWorker | None = None

    def __init__(self, on_cancel: Callable[[], None], ends_running: bool) -> None:
        """Start as pending.

        Args:
            on_cancel: Called, in any thread, after the future was cancelled while its call ran.
            ends_running: Whether the future can be cancelled while its call runs.
        """
        # All that the standard `__init__` does, except for the condition; a test compares them.
        self._condition = _Condition()  # type: ignore[assignment] # futures use no other methods of a condition
        self._state = PENDING
        self._result = None
        self._exception = None
        self._waiters = []
        self._done_callbacks: list[Callable[[Future[T]], object]] = []
        self._on_cancel = on_cancel
        self._ends_running = ends_running

    @property
    def execution(self) -> Execution | None:
        """Where and when the call runs or ran; None before it begins."""
        ran = self.ran
        if ran is not None and not isinstance(ran, tuple):
            ran = ran.execution(self) or self.ran  # it may have ended in the meantime
        if not isinstance(ran, tuple):
            return None
        from platform import node  # loaded only by programs that ask for an execution

        from amltk.backend import Execution

        pid, started, seconds, memory = ran
        return Execution(host=node(), pid=pid, started=started, duration=seconds, peak_memory=memory)

    def cancel(self) -> bool:
        """Cancel the call, and end it if it runs.

        The future is cancelled at once, and a result that arrives later is dropped. If the call
        runs, its worker is ended, with children and grandchildren: they get SIGTERM, and SIGKILL
        after two seconds. This method does not wait for that.

        Returns:
            False only if the call has ended already: the future keeps its result or exception.
            (Also if the call runs, and `map` has submitted it.)
        """
        return self._cancel(self._ends_running)

    def result(self, timeout: float | None = None) -> T:
        """Do what the standard method does, without a lock if the result is there."""
        if self._state == FINISHED and self._exception is None:
            return self._result  # type: ignore[return-value] # the state says that there is one
        return super().result(timeout)

    def cancel_anyway(self) -> bool:
        """Cancel a call that has not begun, even if the future is marked as running."""
        return self._cancel(ends_running=True)

    def _cancel(self, ends_running: bool) -> bool:
        # The standard future leaves RUNNING only with a result, so this sets the private state. It does all of it under
        # the lock, so a result that arrives at the same time is either first or too late.
        with self._condition:
            if self._state in {CANCELLED, CANCELLED_AND_NOTIFIED}:
                return True
            handed_over = self._state == RUNNING
            if self._state == FINISHED or (handed_over and not ends_running):
                return False
            self._state = CANCELLED
            self._condition.notify_all()
            self.set_running_or_notify_cancel()
        if handed_over:
            self._on_cancel()
        self._invoke_callbacks()  # type: ignore[attr-defined] # as every setter of a future does at its end
        return True


class Call(NamedTuple):
    """A pickled call and its future.

    Attributes:
        future: The future that the caller has.
        fn: The function; kept, like `args` and `kwargs`, to describe the call in errors.
        args: Its positional arguments.
        kwargs: Its keyword arguments.
        timeout: How many seconds the call may run; None is no limit.
        function: The pickled function.
        data: The rest of the call, pickled.
        buffers: Its large buffers, sent outside of the pickle.
    """

    future: PoolFuture[Any]
    fn: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    timeout: float | None
    function: Function
    data: bytes
    buffers: Sequence[Memory]

    def is_large(self) -> bool:
        """Whether it is too large to prefetch."""
        return bool(self.buffers) or len(self.data) > CHUNK

    def describe(self) -> str:
        """Return the call as text, such as `train(3, lr=0.1)`, with long values cut short."""
        try:
            return describe_call(self.fn, self.args, self.kwargs)
        except BaseException:  # a `__repr__` of the user's may raise anything
            return "A call"

    def begin(self) -> bool:
        """Mark the future as running; False if it is cancelled or has ended."""
        if self.future._state != PENDING:
            return self.future._state == RUNNING  # it was reclaimed from a worker
        try:
            return self.future.set_running_or_notify_cancel()
        except RuntimeError:  # another thread has ended it at this moment
            return False

    def cancel(self) -> None:
        """Cancel the call, which has not begun, even if its future is marked as running."""
        self._settle(lambda _: self.future.cancel_anyway(), None)

    def fail(self, error: BaseException) -> None:
        """Have the future raise `error`."""
        self._settle(self.future.set_exception, error)

    def succeed(self, result: object) -> None:
        """Have the future return `result`."""
        self._settle(self.future.set_result, result)

    def _settle(self, settle: Callable[[Any], object], outcome: object) -> None:
        try:
            settle(outcome)
        except BaseException as error:  # a callback raises SystemExit, say, or other code has ended the future
            if isinstance(error, InvalidStateError) and self.future.cancelled():
                return
            message = "A callback of a future raised, or other code has ended the future: %r"
            _log.exception(message, self.future)
