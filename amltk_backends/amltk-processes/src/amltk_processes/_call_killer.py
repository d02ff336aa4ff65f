"""Which calls must be ended while they run: those that are cancelled, out of time, in a silent worker, or all.

Before a worker is ended, everything that it has not begun is taken back from it. So nothing else can
begin there any more, what is left is the call that runs, and no other is harmed.
"""

from __future__ import annotations

import collections
import functools
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from amltk_processes import _fork_server
from amltk_processes._call import Call
from amltk_processes._errors import MakesError, closed, killed, lost, timed_out
from amltk_processes._terminations import Terminations
from amltk_processes._worker_connection import LOOKS, WorkerConnection

if TYPE_CHECKING:
    from amltk_processes._dispatcher import Dispatcher


# Seconds to sleep at most: selectors take no more than 24 days, and `time.sleep` no more than some hundred years.
LONGEST = 86_400.0


class CallKiller:
    """What a dispatcher asks in each turn of its loop.

    Attributes:
        any_cancelled: A future was cancelled whose call a worker has; may be set by any thread.
        any_timed: There are calls that have a limit; likewise.
        orders: To end all calls, each with an event that says when that is done; likewise.
        terminations: Of workers, under way.
    """

    def __init__(self, dispatcher: Dispatcher, heartbeat_timeout: float | None, wake: Callable[[], None]) -> None:
        """Begin with nothing to end; `wake` has the dispatcher look here again."""
        self.any_cancelled = self.any_timed = False
        self.orders: collections.deque[threading.Event] = collections.deque()
        self.terminations = Terminations(wake)
        self._dispatcher = dispatcher
        self._heartbeat_timeout = heartbeat_timeout
        self._next_look = 0.0
        self._should_end: dict[WorkerConnection, float] = {}  # by when a worker is to have ended by itself

    def enforce(self) -> None:
        """End what must be ended now."""
        self.terminations.settle()
        if self.any_cancelled:
            self.any_cancelled = False
            self._end_cancelled()
        while self.orders:
            self._end_all(self.orders.popleft())
        if self.any_timed:
            self._end_overdue()
        if self._heartbeat_timeout is not None:
            self._end_silent(self._heartbeat_timeout)
        if self._should_end:
            self._end_lingering()

    def should_end(self, worker: WorkerConnection) -> None:
        """Take note that a worker is about to end by itself; one that has not after a grace is ended."""
        self._should_end[worker] = time.monotonic() + _fork_server.GRACE

    def time_left(self) -> float | None:
        """Return after how many seconds to look again at the latest; None if nothing will be due."""
        if not self.any_timed and self._heartbeat_timeout is None and not self._should_end:
            return None
        moments = [due for worker in self._dispatcher.workers if (due := worker.deadline()) is not None]
        if self._heartbeat_timeout is not None:
            moments.append(self._next_look)
        moments += self._should_end.values()
        return min(max(0.0, min(moments) - time.monotonic()), LONGEST) if moments else None

    def _end_cancelled(self) -> None:
        for worker in list(self._dispatcher.workers):
            if any(call.future.cancelled() for call in worker.calls.values()):
                call = self._halt(worker)
                if call is not None and call.future.cancelled():
                    self._end(worker, call, _fork_server.GRACE, None)

    def _end_all(self, over: threading.Event) -> None:
        try:
            for worker in list(self._dispatcher.workers):
                for call in worker.reclaim():
                    call.cancel()
                self._dispatcher.read(worker)  # after that: see `_halt`
                if (running := worker.running()) is not None and not worker.initializing:
                    self._end(worker, running, _fork_server.GRACE, killed)
        finally:
            self.terminations.watch(over)

    def _end_overdue(self) -> None:
        now = time.monotonic()
        for worker in list(self._dispatcher.workers):
            if _is_over(worker.deadline(), now):
                call = self._halt(worker)
                if call is not None and _is_over(worker.deadline(), now):
                    self._end(worker, call, 0, timed_out)

    def _end_silent(self, timeout: float) -> None:
        # What is counted are looks, not seconds: if it was we who slept, or stood still, nobody is to blame.
        now = time.monotonic()
        if now < self._next_look:
            return
        self._next_look = now + timeout / LOOKS
        self._dispatcher.look_after_server(timeout)
        for worker in list(self._dispatcher.workers):
            if not worker.retired and worker.is_silent():
                call = self._halt(worker)
                if worker.silent:
                    self._end(worker, call, 0, functools.partial(lost, timeout=timeout))

    def _end_lingering(self) -> None:
        now = time.monotonic()
        for worker, due in list(self._should_end.items()):
            if worker not in self._dispatcher.workers or worker in self.terminations:
                del self._should_end[worker]
            elif due <= now and worker.pid is None:  # the fork server is gone, and will be missed
                self._should_end[worker] = now + _fork_server.GRACE
            elif due <= now:
                del self._should_end[worker]
                # One that was retired has no call; what a call of it has left behind gets SIGTERM first.
                retired = worker.retired
                self._end(worker, self._halt(worker), _fork_server.GRACE if retired else 0, closed)

    def _halt(self, worker: WorkerConnection) -> Call | None:
        """Have a worker begin nothing more; return what it runs, if it has not ended meanwhile."""
        self._dispatcher.requeue(worker.reclaim())
        # In this order: a worker that had begun another call by then had answered the one before, which is read now.
        # The other way round, it may answer and begin in between, and that answer would be lost with its worker.
        self._dispatcher.read(worker)
        return worker.running()

    def _end(self, worker: WorkerConnection, call: Call | None, grace: float, error: MakesError | None) -> None:
        """End a worker, and the call that it runs, if any, which then fails with what `error` makes."""

        def then(gone: bool) -> None:
            if call is not None and error is not None:
                self._dispatcher.fail(call, error, worker.pid, gone=gone)

        self._dispatcher.stop_listening(worker)
        worker.note_end()
        worker.retire()
        self.terminations.begin(worker, grace, then)


def _is_over(deadline: float | None, now: float) -> bool:
    return deadline is not None and deadline <= now
