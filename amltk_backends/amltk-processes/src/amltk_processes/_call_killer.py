"""Which calls are ended while they run: cancelled ones, those out of time, those of silent workers, or all.

Before a worker is ended, all calls that it has not begun are reclaimed. So it can begin no other call, and only the
call that runs ends with it.
"""

from __future__ import annotations

import collections
import functools
import threading
import time

from amltk_processes import _fork_server
from amltk_processes._call import Call
from amltk_processes._errors import MakesError, closed, killed, lost, timed_out
from amltk_processes._pool import WorkerPool
from amltk_processes._worker_connection import LONGEST, LOOKS, WorkerConnection


class CallKiller:
    """Ends calls that run, with their workers. All methods are for the dispatcher's thread.

    Attributes:
        any_cancelled: A future was cancelled while a worker had its call; may be set by any thread.
        any_timed: There are calls with a time limit; may be set by any thread.
        orders: Requests to end all calls, each with the event to set when that is done; any thread may append.
    """

    def __init__(self, pool: WorkerPool) -> None:
        """Start with nothing to end."""
        self.any_cancelled = self.any_timed = False
        self.orders: collections.deque[threading.Event] = collections.deque()
        self._pool = pool
        self._heartbeat_timeout = pool.options.heartbeat_timeout
        self._next_look = 0.0

    def enforce(self) -> None:
        """End what must be ended now; called in each turn of the dispatcher's loop."""
        self._pool.terminations.settle()
        if self.any_cancelled:
            self.any_cancelled = False
            self._end_cancelled()
        while self.orders:
            self._end_all(self.orders.popleft())
        if self.any_timed:
            self._end_overdue()
        if self._heartbeat_timeout is not None:
            self._end_silent(self._heartbeat_timeout)
        if self._pool.exit_due:
            self._end_lingering()

    def time_left(self) -> float | None:
        """Return the seconds until the next call of `enforce` is due; None if nothing will be due."""
        exit_due = self._pool.exit_due
        if not self.any_timed and self._heartbeat_timeout is None and not exit_due:
            return None
        moments = [due for worker in self._pool.workers if (due := worker.deadline()) is not None]
        if self._heartbeat_timeout is not None:
            moments.append(self._next_look)
        moments += exit_due.values()
        return min(max(0.0, min(moments) - time.monotonic()), LONGEST) if moments else None

    def _end_cancelled(self) -> None:
        for worker in list(self._pool.workers):
            if any(call.future.cancelled() for call in worker.calls.values()):
                call = self._halt(worker)
                if call is not None and call.future.cancelled():
                    self._end(worker, call, _fork_server.GRACE, None)

    def _end_all(self, over: threading.Event) -> None:
        try:
            for worker in list(self._pool.workers):
                for call in worker.reclaim():
                    call.cancel()
                self._pool.read(worker)  # after that: see `_halt`
                if (running := worker.running()) is not None and not worker.initializing:
                    self._end(worker, running, _fork_server.GRACE, killed)
        finally:
            self._pool.terminations.watch(over)

    def _end_overdue(self) -> None:
        now = time.monotonic()
        for worker in list(self._pool.workers):
            if _is_over(worker.deadline(), now):
                call = self._halt(worker)
                if call is not None and _is_over(worker.deadline(), now):
                    self._end(worker, call, 0, timed_out)

    def _end_silent(self, timeout: float) -> None:
        # Count looks, not seconds: if this process itself was stopped or slept, no worker is to blame.
        now = time.monotonic()
        if now < self._next_look:
            return
        self._next_look = now + timeout / LOOKS
        self._pool.check_server(timeout)
        for worker in list(self._pool.workers):
            if not worker.retired and worker.is_silent():
                call = self._halt(worker)
                if worker.silent:
                    self._end(worker, call, 0, functools.partial(lost, timeout=timeout))

    def _end_lingering(self) -> None:
        """End workers that have not exited by themselves."""
        now = time.monotonic()
        exit_due = self._pool.exit_due
        for worker, due in list(exit_due.items()):
            if worker not in self._pool.workers or worker in self._pool.terminations:
                del exit_due[worker]
            elif due <= now and worker.pid is None:  # the fork server is gone, which will be noticed
                self._pool.expect_exit(worker)
            elif due <= now:
                del exit_due[worker]
                # A retired worker has no call. What its calls have left behind gets SIGTERM first.
                retired = worker.retired
                self._end(worker, self._halt(worker), _fork_server.GRACE if retired else 0, closed)

    def _halt(self, worker: WorkerConnection) -> Call | None:
        """Keep a worker from beginning another call; return the one that runs, if it has not ended meanwhile."""
        self._pool.queue.requeue(worker.reclaim())
        # In this order: a worker that had begun another call by then had answered the one before, and that answer is
        # read now. In the other order, it may answer and begin in between, and the answer would be lost with it.
        self._pool.read(worker)
        return worker.running()

    def _end(self, worker: WorkerConnection, call: Call | None, grace: float, error: MakesError | None) -> None:
        """End a worker and the call that it runs, if any; that call fails with what `error` returns."""

        def then(gone: bool) -> None:
            if call is not None and error is not None:
                self._pool.outcomes.fail(call, error, worker.pid, gone=gone)

        self._pool.stop_listening(worker)
        worker.note_end()
        worker.retire()
        self._pool.terminations.begin(worker, grace, then)


def _is_over(deadline: float | None, now: float) -> bool:
    return deadline is not None and deadline <= now
