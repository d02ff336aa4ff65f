"""The dispatcher: one thread that hands calls to workers, and their results to futures.

      caller's threads                dispatcher's thread                    a worker, one of several

      submit: pickle ──> queue ──> take from the queue ──calls──> socket ──> read ahead
                                     │         └──────tokens─> pipe ─┬─────> take a token, run that call
                                     │   <── reclaim tokens ─────────┘            │
      future is done <──────── unpickle <────────────────results── socket <───────┘
                                     │
                                     └─── fork server: starts workers, reports their exits

`CallQueue` decides which worker gets which call, `WorkerPool` has the workers, `CallKiller` ends calls that run, and
`Outcomes` ends futures. This module has what other threads ask for (submit, cancel, kill, shut down) and the loop.

Queue, connections to workers, selector and fork server belong to the dispatcher's thread. Other threads append to the
queue, set flags, and wake it. Only while it sleeps, an idle worker's connection belongs to the next thread that submits
a call, which gives the call to that worker.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import selectors
import signal
import threading
import weakref

from amltk.descriptors import NO_SIGPIPE, socketpair
from amltk_processes._call import Call
from amltk_processes._call_assignment import CallQueue
from amltk_processes._call_killer import CallKiller
from amltk_processes._errors import broken, killed
from amltk_processes._fork_lock import no_forks
from amltk_processes._frames import CHUNK
from amltk_processes._options import PoolOptions
from amltk_processes._outcomes import Outcomes
from amltk_processes._pool import WorkerPool
from amltk_processes._terminations import Terminations, load_process_tree
from amltk_processes._worker_connection import WorkerConnection


class Dispatcher:
    """Runs the calls of one executor.

    Attributes:
        pool: The workers.
    """

    def __init__(self, options: PoolOptions) -> None:
        """Start nothing; the first call does."""
        # Shared with other threads. The lock is held for moments, and may be taken again by
        # whatever interrupts its holder in the same thread: a signal handler, a finalizer.
        self._lock = threading.RLock()
        self._queue = CallQueue()
        self._stopping = self._killing = self._cancelling = self._ended = False
        self._cancelled = False  # No call waits any more, so no initializer is needed.
        self._thread: threading.Thread | None = None
        self._woken = False
        # An idle worker. The thread sets it while it sleeps, and the holder of the lock may take it (see `_sleep`).
        self._parked: WorkerConnection | None = None
        # The thread's own. Others only read `failure` and set the flags of `CallKiller`.
        self._outcomes = Outcomes(options.first_call)
        self._terminations = Terminations(self._wake)
        self.pool = WorkerPool(options, self._queue, self._outcomes, self._terminations)
        self._call_killer = CallKiller(self.pool)
        _live.add(self)

    def check_open(self) -> None:
        """Raise when no more calls are accepted.

        Raises:
            RuntimeError: The executor was shut down.
            BrokenProcessPool: It is broken.
        """
        if self._outcomes.failure is not None:
            raise broken(self._outcomes.failure)
        if self._stopping:
            msg = "cannot schedule new futures after shutdown: this ProcessPoolExecutor was shut down; make a new one."
            raise RuntimeError(msg)

    def submit(self, call: Call) -> None:
        """Put a call at the end of the queue."""
        with self._lock:
            self.check_open()
            if self._thread is None:
                with no_forks():
                    self._start()
            worker, self._parked = self._parked, None
            if worker is not None and not self._queue and worker.takes_at_once(call):
                self._give_at_once(worker, call)
                return
            self._call_killer.any_timed |= call.timeout is not None
            self._queue.append(call)
            self._wake()

    def _give_at_once(self, worker: WorkerConnection, call: Call) -> None:
        try:
            if call.begin():
                worker.give([call])
                if worker.unsent:
                    self._wake()
        except BaseException:  # Ctrl-C, say: it is unknown how much of the call the worker has received
            assert worker.pid is not None
            os.kill(worker.pid, signal.SIGKILL)
            raise

    def _start(self) -> None:
        """Start the fork server, in the caller's thread, and then the dispatcher's thread.

        In this order, since a fork has only the thread that forks, and since the new thread would
        wait for the GIL again and again while the caller goes on submitting.
        """
        with contextlib.ExitStack() as undo:
            try:
                self.pool.open(undo)
                self._wake_reader, self._waker = socketpair()
                for end in (self._wake_reader, self._waker):
                    undo.callback(end.close)
                    end.setblocking(False)  # explicitly: there may be a default timeout
                self.pool.selector.register(self._wake_reader, selectors.EVENT_READ, self._on_wake)
                thread = threading.Thread(target=self._run, name="amltk-processes", daemon=True)
                thread.start()
            except (OSError, RuntimeError) as error:
                self._outcomes.failure = error
                raise broken(error) from error
            undo.pop_all()
        self._thread = thread

    def end_cancelled(self) -> None:
        """End the running calls whose futures are cancelled; do not wait for it."""
        with self._lock:
            self._call_killer.any_cancelled = True
            self._wake()

    def kill_calls(self) -> None:
        """End all calls that there are now, and wait until they are gone, unless this is the dispatcher's thread."""
        over = threading.Event()
        with self._lock:
            if self._thread is None or self._ended:
                return
            self._call_killer.orders.append(over)
            waiting = list(self._queue)
            self._wake()
        for call in waiting:
            call.cancel()
        if self._thread is not threading.current_thread():
            over.wait()

    def stop(self, *, cancel_pending: bool = False, kill: bool = False) -> None:
        """Accept no more calls, and end when none is left; with `kill`, end now."""
        with self._lock:
            self._stopping = True
            self._cancelling |= cancel_pending
            self._cancelled |= cancel_pending
            self._killing |= kill
            self._wake()

    def join(self) -> None:
        """Wait for the end, unless this is the dispatcher's own thread."""
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join()
            self.pool.logs.join()

    def forget(self) -> None:
        """Release everything: this process is a fork, and the pool is its parent's."""
        self._lock = threading.RLock()  # the thread that held it is not in this process
        self._stopping = True
        if self._thread is None or self._ended:
            return
        self.pool.forget()
        self._wake_reader.close()
        self._waker.close()

    def _wake(self) -> None:
        if self._thread is not None and not self._woken:
            self._woken = True
            with contextlib.suppress(OSError):  # the thread has ended and closed it
                self._waker.send(b"!", NO_SIGPIPE)

    # From here on: in the dispatcher's thread.

    def _run(self) -> None:
        try:
            while True:
                self._hand_out()
                if self._killing or self._outcomes.failure is not None:
                    break
                if self._stopping and not (self._queue or self._terminations or self._has_calls()):
                    break
                for key, events in self._sleep():
                    key.data(events)
        except BaseException as error:
            self._outcomes.failure = error
        finally:
            self._end()

    def _has_calls(self) -> bool:
        """Whether a worker has calls. An initializer does not count once its worker will get no calls."""
        return any(worker.calls and not (self._cancelled and worker.initializing) for worker in self.pool.workers)

    def _sleep(self) -> list[tuple[selectors.SelectorKey, int]]:
        """Wait until there is something to do.

        Meanwhile one idle worker is parked: the next thread that submits a call gives it to that worker, and need
        not wake this one. So a call that follows the result of another waits for one thread less.
        """
        with self._lock:
            self._parked = next((worker for worker in self.pool.workers if worker.ready and worker.is_idle()), None)
        try:
            return self.pool.selector.select(self._call_killer.time_left())
        finally:
            with self._lock:
                self._parked = None

    def _on_wake(self, _: int) -> None:
        self._wake_reader.recv(CHUNK)
        self._woken = False  # before the queue is looked at, so that a later call wakes us again
        for worker in self.pool.workers:
            if worker.unsent:
                self.pool.flush(worker)

    def _hand_out(self) -> None:
        self._call_killer.enforce()
        queue, workers = self._queue, self.pool.workers
        if self._cancelling:
            self._cancelling = False
            queue.cancel_all(workers)
        queue.drop_cancelled()
        for worker in list(workers):
            if worker.is_stuck():
                queue.requeue(worker.reclaim())
            elif worker.is_idle() and worker.tasks_left == 0:
                self.pool.recycle(worker)
        if not queue and not any(len(worker.calls) > 1 or worker.pid is None for worker in workers):
            return
        self.pool.start_workers(len(queue))
        queue.assign(workers, self.pool.flush)
        load_process_tree()
        queue.rebalance(workers, self.pool.flush)

    def _end(self) -> None:
        with self._lock:
            self._stopping = True
        unfinished = self.pool.close_workers()
        try:
            self.pool.close_server(now=self._killing or self._outcomes.failure is not None)
        finally:
            self._terminations.finish_all()
            if self._outcomes.failure is None:
                self._queue.cancel_all(self.pool.workers)
            unfinished += [(call, None) for call in self._queue if call.begin()]
            for call, pid in unfinished:
                if call is self._outcomes.first_call:
                    continue
                if self._outcomes.failure is None:
                    self._outcomes.fail(call, killed, pid)
                else:
                    call.fail(broken(self._outcomes.failure))
            self._queue.clear()
            self.pool.logs.close()
            with no_forks():
                self.pool.selector.close()
                self._wake_reader.close()
                self._waker.close()
            with self._lock:
                self._ended = True
            for over in self._call_killer.orders:
                over.set()


_live: weakref.WeakSet[Dispatcher] = weakref.WeakSet()


def _finish_all() -> None:
    """At the interpreter's end: finish the calls that were submitted, as the standard executors do."""
    for dispatcher in list(_live):
        dispatcher.stop()
    for dispatcher in list(_live):
        dispatcher.join()


def _forget_all() -> None:
    for dispatcher in list(_live):
        dispatcher.forget()
    _live.clear()


atexit.register(_finish_all)
os.register_at_fork(after_in_child=_forget_all)
