"""The pool's heart: one thread that hands calls to workers, and their results to futures.

      caller's threads                dispatcher's thread                    a worker, one of several

      submit: pickle ──> queue ──> take from the queue ──calls──> socket ──> read ahead
                                     │         └──────tokens─> pipe ─┬─────> take a token, run that call
                                     │   <── take tokens back ───────┘            │
      future is done <──────── unpickle <────────────────results── socket <───────┘
                                     │
                                     └─── fork server: starts workers, tells who died

A call is handed to a worker as data on its socket and a token, the call's number, in its pipe. The
worker takes one token at a time and runs the call of that number. The main process holds the
reading end too: a token that it takes out belongs to it again, and so does the call. The kernel
gives each token to one of them, so a call runs once at most, whoever dies when. This allows several
short calls to be on their way to each worker: when one of them turns out long, those behind it are
taken back. And of a dead worker's calls, the one whose token is gone is the one that it ran.

Connections to workers, selector and fork server belong to the dispatcher's thread; others leave a word and wake it.
Only while it sleeps, an idle worker's connection belongs to whoever submits a call next, and gives it that.
"""

from __future__ import annotations

import atexit
import collections
import contextlib
import functools
import logging
import os
import selectors
import signal
import sys
import threading
import weakref
from collections.abc import Mapping, Sequence
from typing import Any

from amltk.describe import name_of
from amltk.descriptors import NO_SIGPIPE, socketpair
from amltk.exceptions import add_note
from amltk.remote.worker_exit import describe_exit
from amltk_processes import _fork_server
from amltk_processes._call import Call
from amltk_processes._call_killer import LONGEST, CallKiller
from amltk_processes._errors import MakesError, broken, died, killed
from amltk_processes._fork_lock import no_forks
from amltk_processes._fork_server import ForkServer, WorkerEvent
from amltk_processes._frames import ALIVE, CHUNK, ERROR, LOG, Memory
from amltk_processes._logs import LogReceiver, levels
from amltk_processes._pickling import loads
from amltk_processes._server import EXITED, STARTED
from amltk_processes._worker_connection import LOOKS, WorkerConnection

_log = logging.getLogger("amltk_processes")

# So many workers, or fork servers, in a row may die before they have said a word. It is the machine's fault then, not a
# call's.
MOST_DEAD_ON_ARRIVAL = 5


class Dispatcher:
    """Holds the queue and the workers of one executor."""

    def __init__(
        self,
        max_workers: int,
        first_call: Call | None,
        max_tasks_per_child: int | None,
        *,
        start_method: str,
        heartbeat_timeout: float | None,
        forward_logs: bool,
        preload: Sequence[str],
        environ: Mapping[str, str],
    ) -> None:
        """Start nothing; the first call does.

        Args:
            max_workers: How many workers there are at most.
            first_call: What each worker has to do before its first call: the initializer.
            max_tasks_per_child: How many calls a worker gets at most; None is no limit.
            heartbeat_timeout: How many seconds a worker may give no sign of life; None is no limit.
            start_method: How workers are started (see `ForkServer`).
            forward_logs: Whether what workers log is handled here.
            preload: The modules that are imported before workers are forked.
            environ: Environment variables of workers.
        """
        self._max_workers = max_workers
        self._first_call = first_call
        self._max_tasks = max_tasks_per_child
        self._new_server = functools.partial(ForkServer, start_method, preload=preload, environ=dict(environ))
        self._forward_logs = forward_logs
        self._heartbeat_timeout = heartbeat_timeout
        self._logs = LogReceiver()
        # Shared with other threads. The lock is held for moments, and may be taken again by
        # whatever interrupts its holder in the same thread: a signal handler, a finalizer.
        self._lock = threading.RLock()
        self._queue: collections.deque[Call] = collections.deque()
        self._stopping = self._killing = self._cancelling = self._ended = False
        self._cancelled = False  # No call waits any more, so that no initializer is needed.
        self._failure: BaseException | None = None
        self._thread: threading.Thread | None = None
        self._woken = False
        # An idle worker's, while the thread sleeps, and the caller's then who holds the lock (see `_sleep`).
        self._parked: WorkerConnection | None = None
        # The thread's own, its limits included.
        self._server: ForkServer | None = None
        self._dead_on_arrival = self._dead_servers = self._server_silent = 0
        self._server_stopped = ""
        self.workers: list[WorkerConnection] = []
        self._starting: collections.deque[WorkerConnection] = collections.deque()
        self._by_pid: dict[int, WorkerConnection] = {}
        self._call_killer = CallKiller(self, heartbeat_timeout, self._wake)
        _live.add(self)

    def check_open(self) -> None:
        """Refuse when no calls are taken any more.

        Raises:
            RuntimeError: The executor was shut down.
            BrokenProcessPool: It is broken.
        """
        if self._failure is not None:
            raise broken(self._failure)
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
        except BaseException:  # Ctrl-C, say: nobody knows how much of the call the worker has got
            assert worker.pid is not None
            os.kill(worker.pid, signal.SIGKILL)
            raise

    def _start(self) -> None:
        """Start the server, in the caller's thread, and then ours.

        A fork has only the thread that forks: ours is not there yet. And ours would wait for the
        GIL again and again while the caller goes on submitting.
        """
        with contextlib.ExitStack() as undo:
            try:
                self._server = self._new_server(levels=levels() if self._forward_logs else None)
                undo.callback(self._server.close, now=True)
                self._selector = _new_selector()
                undo.callback(self._selector.close)
                self._wake_reader, self._waker = socketpair()
                for end in (self._wake_reader, self._waker):
                    undo.callback(end.close)
                    end.setblocking(False)  # explicitly: there may be a default timeout
                self._selector.register(self._wake_reader, selectors.EVENT_READ, self._on_wake)
                thread = threading.Thread(target=self._run, name="amltk-processes", daemon=True)
                thread.start()
            except (OSError, RuntimeError) as error:
                self._failure = error
                raise broken(error) from error
            undo.pop_all()
        self._thread = thread

    def end_cancelled(self) -> None:
        """End those calls that run and whose futures are cancelled; does not wait for it."""
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
        """Take no more calls, and end when none is left; with `kill`, end now."""
        with self._lock:
            self._stopping = True
            self._cancelling |= cancel_pending
            self._cancelled |= cancel_pending
            self._killing |= kill
            self._wake()

    def join(self) -> None:
        """Wait for the end, unless this is the thread that has to come to it."""
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join()
            self._logs.join()

    def forget(self) -> None:
        """Let go of everything: this process is a fork, and the pool is its parent's."""
        self._lock = threading.RLock()  # whoever held it is not here
        self._stopping = True
        if self._thread is None or self._ended:
            return
        self._selector.close()
        self._wake_reader.close()
        self._waker.close()
        for worker in self.workers:
            with contextlib.suppress(OSError):  # the thread was about to close it
                worker.close()
        if self._server is not None:
            with contextlib.suppress(OSError):  # likewise
                self._server.forget()

    def _wake(self) -> None:
        if self._thread is not None and not self._woken:
            self._woken = True
            with contextlib.suppress(OSError):  # it is over, and closed
                self._waker.send(b"!", NO_SIGPIPE)

    # From here on: in the dispatcher's thread.

    def _run(self) -> None:
        try:
            while True:
                self._hand_out()
                if self._killing or self._failure is not None:
                    break
                if self._stopping and not (self._queue or self._call_killer.terminations or self._has_calls()):
                    break
                for key, events in self._sleep():
                    key.data(events)
        except BaseException as error:
            self._failure = error
        finally:
            self._end()

    def _has_calls(self) -> bool:
        """Whether a worker has calls. An initializer is none once its worker will get no calls."""
        return any(worker.calls and not (self._cancelled and worker.initializing) for worker in self.workers)

    def _sleep(self) -> list[tuple[selectors.SelectorKey, int]]:
        """Wait until there is something to do.

        Meanwhile one idle worker's connection is parked: whoever submits a call gives it that, with no need to wake us.
        So a call that follows the result of another waits for one thread less.
        """
        with self._lock:
            self._parked = next((worker for worker in self.workers if worker.ready and worker.is_idle()), None)
        try:
            return self._selector.select(self._call_killer.time_left())
        finally:
            with self._lock:
                self._parked = None

    def _on_wake(self, _: int) -> None:
        self._wake_reader.recv(CHUNK)
        self._woken = False  # before the queue is looked at, so that whoever comes later wakes us again
        for worker in self.workers:
            if worker.unsent:
                self._flush(worker)

    def _hand_out(self) -> None:
        self._call_killer.enforce()
        if self._cancelling:
            self._cancel_queue()
        while self._queue and self._queue[0].future.cancelled():
            self._queue.popleft()
        for worker in list(self.workers):
            if worker.is_stuck():
                self.requeue(worker.reclaim())
            elif worker.is_idle() and worker.tasks_left == 0:
                self._recycle(worker)
        if not self._queue and not any(len(worker.calls) > 1 or worker.pid is None for worker in self.workers):
            return
        self._start_workers()
        self._share_out()
        _load_what_ends_workers()
        idle = sum(worker.is_idle() for worker in self.workers)
        while idle and not self._queue and (back := self._take_from_busiest()):
            self.requeue(back)
            self._share_out()
            idle -= 1

    def _start_workers(self) -> None:
        if len(self.workers) == self._max_workers:
            return
        # One that has a call, however short its calls have been, is no place for another if a new one can be had.
        ready = sum(worker.is_idle() or worker.initializing for worker in self.workers)
        for _ in range(min(self._max_workers - len(self.workers), len(self._queue) - ready)):
            try:
                with no_forks():
                    self._start_worker()
            except OSError:
                if not self.workers:
                    raise
                return  # with those that there are, it goes on

    def _start_worker(self) -> None:
        if self._server is None:
            self._server = self._new_server(levels=levels() if self._forward_logs else None)
        if self._server.fileno() not in self._selector.get_map():
            service = self._server.service
            self._selector.register(self._server, selectors.EVENT_READ, self._on_report)
            self._selector.register(service, selectors.EVENT_READ, lambda _: service.answer())
        worker = WorkerConnection(self._max_tasks)
        self._server.start_worker(worker.child_end, worker.tokens)
        worker.hand_over()
        self._starting.append(worker)
        self.workers.append(worker)
        self._selector.register(worker.connection, selectors.EVENT_READ, functools.partial(self._on_worker, worker))
        if self._server.preparation:
            worker.prepare(self._server.preparation)
        if self._heartbeat_timeout is not None:
            worker.ask_for_beats(min(self._heartbeat_timeout / LOOKS, LONGEST))
        if self._first_call is not None:
            worker.initialize(self._first_call)
        self._flush(worker)

    def _share_out(self) -> None:
        share = -(-len(self._queue) // max(len(self.workers), 1))
        for worker in sorted(
            (worker for worker in self.workers if worker.free_slots()), key=lambda worker: len(worker.calls)
        ):
            batch = self._take_from_queue(min(worker.free_slots(), share), alone=not worker.calls)
            if batch:
                self.requeue(worker.give(batch))
                self._flush(worker)

    def _take_from_queue(self, most: int, *, alone: bool) -> list[Call]:
        batch: list[Call] = []
        while self._queue and len(batch) < most:
            if self._queue[0].is_large() and (batch or not alone):
                break  # nothing big is sent ahead
            call = self._queue.popleft()
            if call.begin():
                batch.append(call)
        return batch

    def _take_from_busiest(self) -> list[Call]:
        busiest = max(self.workers, key=lambda worker: len(worker.calls))
        # The first call of a worker that is just starting has not begun either.
        return busiest.reclaim((len(busiest.calls) + (busiest.pid is None)) // 2)

    def requeue(self, calls: list[Call]) -> None:
        """Put calls back that have not begun, before all others."""
        self._queue.extendleft(reversed(calls))

    def _cancel_queue(self) -> None:
        self._cancelling = False
        for worker in self.workers:
            self.requeue(worker.reclaim())
        while self._queue:
            self._queue.popleft().cancel()

    # What the workers and the fork server say

    def _flush(self, worker: WorkerConnection) -> None:
        if worker.open:
            events = selectors.EVENT_READ if worker.flush() else selectors.EVENT_READ | selectors.EVENT_WRITE
            if self._selector.get_key(worker.connection).events != events:
                self._selector.modify(worker.connection, events, functools.partial(self._on_worker, worker))

    def _on_worker(self, worker: WorkerConnection, events: int) -> None:
        if not worker.open:
            return  # closed by what came a moment before
        if events & selectors.EVENT_WRITE:
            self._flush(worker)
        if events & selectors.EVENT_READ:
            answers = worker.receive()
            if answers is None:
                self.stop_listening(worker)  # soon the fork server will tell how it died, or else it is ended
                self._call_killer.should_end(worker)
            else:
                for answer in answers:
                    self._on_answer(worker, *answer)

    def read(self, worker: WorkerConnection) -> None:
        """Deal with all answers of a worker that are there."""
        for answer in worker.receive_all():
            self._on_answer(worker, *answer)

    def _on_answer(
        self,
        worker: WorkerConnection,
        kind: int,
        number: int,
        tag: int,
        started: float,
        data: memoryview,
        buffers: Sequence[Memory] | None,
    ) -> None:
        if kind == ALIVE:
            self._dead_on_arrival = 0
            worker.spoke(number, tag)
            return
        if kind == LOG:
            logging_call = worker.calls.get(number)
            if buffers is not None:  # else there was no memory for it
                self._logs.put(bytes(data), name_of(logging_call.fn) if logging_call else "")
            return
        call = worker.answered(number, tag, started)
        outcome: Any
        try:
            if buffers is None:
                msg = f"There is not enough memory in the main process for what {name_of(call.fn)} returned."
                raise MemoryError(msg)  # noqa: TRY301 - as if `loads` had raised it
            outcome = loads(data, buffers)
            if kind == ERROR:
                outcome = outcome.unpack(loads)
        except BaseException as error:
            with contextlib.suppress(BaseException):  # what is the user's may raise anything
                add_note(error, f"Raised while what {name_of(call.fn)} returned was unpickled in the main process.")
            kind, outcome = ERROR, error
        if call is self._first_call:
            if kind == ERROR:
                self._failure = outcome
        elif kind == ERROR:
            call.fail(outcome)
        else:
            call.succeed(outcome)

    def _on_report(self, _: int) -> None:
        assert self._server is not None
        reports = self._server.reports()
        if reports is None:
            self._on_server_lost()
            return
        for report in reports:
            if report.kind == EXITED:
                worker = self._by_pid.pop(report.pid)
                if worker in self.workers:
                    self._on_worker_exit(worker, describe_exit(report.code, report.out_of_memory), report)
                    self._check_arrivals(worker, report)
                continue
            worker = self._starting.popleft()
            if report.kind == STARTED:
                worker.pid = report.pid
                self._by_pid[report.pid] = worker
                self._dead_servers = 0
                self._call_killer.terminations.started(worker)
            else:
                self._on_worker_exit(worker, "could not be started")
                if not self.workers:
                    raise OSError(report.code, f"No worker can be started: {os.strerror(report.code)}")

    def _check_arrivals(self, worker: WorkerConnection, report: WorkerEvent) -> None:
        """Give up when workers die one after the other before they have said a word."""
        self._dead_on_arrival += not worker.ready and not worker.retired
        if self._dead_on_arrival >= MOST_DEAD_ON_ARRIVAL:
            msg = f"{self._dead_on_arrival} workers in a row died before their first call; the last of them, which "
            msg += f"{describe_exit(report.code, report.out_of_memory)}, wrote to stderr:\n"
            msg += report.stderr_tail or "(nothing)"
            raise RuntimeError(msg)

    def _on_server_lost(self) -> None:
        assert self._server is not None
        from amltk.remote.process_tree import end_process_trees

        # Before the server is closed, for then the kernel ends workers, without what they started.
        end_process_trees(self._by_pid, _fork_server.GRACE)
        self._selector.unregister(self._server)
        self._selector.unregister(self._server.service)
        self._server.close(now=True)
        code, command = self._server.exit_code, self._server.command
        self._dead_servers += not self._server.has_started
        was_killed = code is not None and code < 0
        broken_from_the_start = not self._server.has_started and not was_killed
        self._server = None
        if broken_from_the_start or self._dead_servers >= MOST_DEAD_ON_ARRIVAL:
            msg = f"The fork server ended with exit code {code} before it started a worker; its stderr tells why."
            if command:
                msg += f" It was started as {command[0]}: if that is no Python interpreter, say which "
                msg += "one to use: multiprocessing.set_executable(path)."
            raise RuntimeError(msg)
        self._by_pid.clear()
        self._starting.clear()
        for worker in list(self.workers):
            self._on_worker_exit(
                worker, f"had to be ended, for the fork server {self._server_stopped or describe_exit(code)}"
            )
        self._server_stopped = ""

    def look_after_server(self, timeout: float) -> None:
        """Count one more look; end the fork server if it was stopped all the while, and something waits for it.

        Its end of file comes next, and then another one is started.
        """
        waits = self._starting or not all(worker.open for worker in self.workers)
        stopped = self._server is not None and waits and self._server.is_stopped()
        self._server_silent = self._server_silent + 1 if stopped else 0
        if self._server_silent == LOOKS + 1:
            assert self._server is not None
            self._server_stopped = f"was stopped (SIGSTOP), and did not go on within {timeout:g} s"
            _log.warning("The fork server, process %d, %s. It is replaced.", self._server.pid, self._server_stopped)
            self._server.kill()

    def _on_worker_exit(self, worker: WorkerConnection, how: str, report: WorkerEvent | None = None) -> None:
        if worker.retired:
            self.workers.remove(worker)
            if worker.pid is None:
                self._call_killer.terminations.finish(worker)
            return
        self.read(worker)
        worker.initializing = False
        self.requeue([call for call in worker.reclaim() if call is not self._first_call])
        self._remove(worker)
        worker.note_end()
        for call in worker.calls.values():
            self.fail(call, died, worker.pid, how, report)

    def fail(self, call: Call, make: MakesError, *args: Any, **more: Any) -> None:
        """End a call with the error that `make` makes of it, and the pool with it if it was the initializer's.

        It ends in any case: if its error can't be made, what was raised then is its error.
        """
        try:
            error = make(call, *args, **more)
        except BaseException as failure:
            error = failure
        if call is self._first_call:
            self._failure = error
        else:
            call.fail(error)

    def stop_listening(self, worker: WorkerConnection) -> None:
        """Let what a worker says be: nobody waits for it any more."""
        if worker.open:
            self._selector.unregister(worker.connection)
            worker.open = False

    def _recycle(self, worker: WorkerConnection) -> None:
        """Have a worker end that gets no more calls. It keeps its place until it has ended."""
        self.stop_listening(worker)
        worker.retire()
        self._call_killer.should_end(worker)

    def _remove(self, worker: WorkerConnection) -> None:
        self.stop_listening(worker)
        worker.close()
        self.workers.remove(worker)

    def _end(self) -> None:
        with self._lock:
            self._stopping = True
        for worker in self.workers:
            self.requeue(worker.reclaim())
        for worker in self.workers:
            worker.note_end()
        unfinished = [(call, worker.pid) for worker in self.workers for call in worker.calls.values()]
        for worker in list(self.workers):
            self._remove(worker)  # so an idle worker ends, and one that survives SIGTERM by an exception
        try:
            if self._server is not None:
                self._server.close(now=self._killing or self._failure is not None)
        finally:
            self._call_killer.terminations.finish_all()
            if self._failure is None:
                self._cancel_queue()
            unfinished += [(call, None) for call in self._queue if call.begin()]
            for call, pid in unfinished:
                if call is not self._first_call:
                    self.fail(call, killed, pid) if self._failure is None else call.fail(broken(self._failure))
            self._queue.clear()
            self._logs.close()
            with no_forks():
                self._selector.close()
                self._wake_reader.close()
                self._waker.close()
            with self._lock:
                self._ended = True
            for over in self._call_killer.orders:
                over.set()


def _new_selector() -> selectors.BaseSelector:
    """Make a selector whose descriptor, if it has one, is above the standard ones."""
    low = []
    while getattr(selector := selectors.DefaultSelector(), "fileno", lambda: 3)() < 3:
        low.append(selector)
    for each in low:
        each.close()
    return selector


def _load_what_ends_workers() -> None:
    """Load it while the first worker starts: there may be no descriptor to load it with when it is needed."""
    if "amltk.remote.process_tree" not in sys.modules:
        with contextlib.suppress(OSError, ImportError):
            import amltk.remote.process_tree  # noqa: F401


_live: weakref.WeakSet[Dispatcher] = weakref.WeakSet()


def _finish_all() -> None:
    """At the interpreter's end: what was submitted is done first, as with the standard executors."""
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
