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
    """What a future is locked with; a `threading.Condition` is made of it only if somebody waits.

    That is half a dozen objects, which few futures ever need. In a burst of calls, to make them, and to have the
    garbage collector look through them again and again, takes about as long as all else that the pool does.
    """

    _waited_for: threading.Condition | None = None

    # Both are called by who holds the lock.

    def wait(self, timeout: float | None = None) -> bool:
        if self._waited_for is None:
            self._waited_for = threading.Condition(self)
        return self._waited_for.wait(timeout)

    def notify_all(self) -> None:
        if self._waited_for is not None:
            self._waited_for.notify_all()
            self._waited_for = None  # a circle of references; and a future ends but once


Ran = tuple[int | None, float | None, float | None, int | None]
"""Of a call: pid, when it started, how many seconds it ran, the most bytes of memory; None if that is not known."""


class HasWorker(Protocol):
    """The way to a worker that has the call of a future."""

    def execution(self, future: PoolFuture[Any]) -> Ran | None:
        """Return what is known of the call if it runs."""


class PoolFuture(Future[T]):
    """The future of a call, which can be cancelled even when the call runs.

    Attributes:
        ran: What is known of the call's execution, or who knows; None before a worker has the call.
    """

    ran: Ran | HasWorker | None = None

    def __init__(self, on_cancel: Callable[[], None], ends_running: bool) -> None:
        """Be pending.

        Args:
            on_cancel: Told, in any thread, when the future was cancelled while its call ran.
            ends_running: Whether it can be cancelled then.
        """
        # All that the standard `__init__` does, but for the condition; a test compares them.
        self._condition = _Condition()  # type: ignore[assignment] # of a condition, futures use no more than this has
        self._state = PENDING
        self._result = None
        self._exception = None
        self._waiters = []
        self._done_callbacks: list[Callable[[Future[T]], object]] = []
        self._on_cancel = on_cancel
        self._ends_running = ends_running

    @property
    def execution(self) -> Execution | None:
        """Where and when the call ran, or has run until now; None before it begins."""
        ran = self.ran
        if ran is not None and not isinstance(ran, tuple):
            ran = ran.execution(self) or self.ran  # it may have ended meanwhile
        if not isinstance(ran, tuple):
            return None
        from platform import node  # whoever asks for no execution need load neither

        from amltk.backend import Execution

        pid, started, seconds, memory = ran
        return Execution(host=node(), pid=pid, started=started, duration=seconds, peak_memory=memory)

    def cancel(self) -> bool:
        """Cancel the call, and end it if it runs.

        The future is cancelled at once, and what the call returns from now on is dropped. If it
        runs, its worker is ended, with children and grandchildren: they get SIGTERM, and SIGKILL
        after two seconds. This does not wait for that.

        Returns:
            False only if the call has ended already: it has its result or exception, and keeps it.
            (Or if it runs, and is one of `map`, which cancels what it gives up.)
        """
        return self._cancel(self._ends_running)

    def result(self, timeout: float | None = None) -> T:
        """Do as the standard one does; without a lock where the result is there."""
        if self._state == FINISHED and self._exception is None:
            return self._result  # type: ignore[return-value] # it is there
        return super().result(timeout)

    def cancel_anyway(self) -> bool:
        """Cancel a call that has not begun, whatever this future says."""
        return self._cancel(ends_running=True)

    def _cancel(self, ends_running: bool) -> bool:
        # What a future waits in is nobody's but its own class's; the standard one has no way out of RUNNING but a
        # result. All in one go, so that whoever comes with that result at the same time is either first or too late.
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
        self._invoke_callbacks()  # type: ignore[attr-defined] # what every setter of a future does last
        return True


class Call(NamedTuple):
    """A call, pickled, and the future that waits for it.

    Attributes:
        future: Of the caller's.
        fn: What is called, with `args` and `kwargs`: here only to name it when it fails.
        args: See above.
        kwargs: See above.
        timeout: How many seconds it may run; None is no limit.
        function: The function as it is sent.
        data: The rest of the call as it is sent.
        buffers: What is large of it, and sent apart.
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
        """Whether it is nothing to send ahead."""
        return bool(self.buffers) or len(self.data) > CHUNK

    def describe(self) -> str:
        """Return the call as text, for people: `train(3, lr=0.1)`, long values cut short."""
        try:
            return describe_call(self.fn, self.args, self.kwargs)
        except BaseException:  # what is the user's may raise anything
            return "A call"

    def begin(self) -> bool:
        """Mark the future as running; False if nobody wants its result any more."""
        if self.future._state != PENDING:
            return self.future._state == RUNNING  # it was taken back from a worker
        try:
            return self.future.set_running_or_notify_cancel()
        except RuntimeError:  # somebody has settled it just now
            return False

    def cancel(self) -> None:
        """Cancel it: it has not begun, whatever its future says."""
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
        except BaseException as error:  # a callback of the user's that exits, or somebody else has settled it
            if isinstance(error, InvalidStateError) and self.future.cancelled():
                return
            message = "A callback of a future failed, or the future was settled by somebody else: %r"
            _log.exception(message, self.future)
