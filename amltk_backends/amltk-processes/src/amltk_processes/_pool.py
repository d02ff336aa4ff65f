"""The workers of a pool: started by the fork server, read from, and removed when they exit.

    start_workers ──> ForkServer: starts a process ──> STARTED: its process id is known
                      socket: results, log records ──> Outcomes, LogReceiver
                      ForkServer: it has exited    ──> EXITED: its other calls are requeued, the one that it ran fails

A worker keeps its place until it has exited, so there are never more than `max_workers` processes. If the fork server
exits, its workers are ended, and the next call starts another one. All methods are for the dispatcher's thread, except
where they say otherwise.
"""

from __future__ import annotations

import collections
import contextlib
import functools
import logging
import os
import selectors
import time
from collections.abc import Sequence

from amltk.describe import name_of
from amltk.remote.worker_exit import describe_exit
from amltk_processes import _fork_server
from amltk_processes._call import Call
from amltk_processes._call_assignment import CallQueue
from amltk_processes._errors import died
from amltk_processes._fork_lock import no_forks
from amltk_processes._fork_server import ForkServer, WorkerEvent
from amltk_processes._frames import ALIVE, LOG, Memory
from amltk_processes._logs import LogReceiver, levels
from amltk_processes._options import PoolOptions
from amltk_processes._outcomes import Outcomes
from amltk_processes._server import EXITED, STARTED
from amltk_processes._terminations import Terminations
from amltk_processes._worker_connection import LONGEST, LOOKS, WorkerConnection

_log = logging.getLogger("amltk_processes")

# Consecutive start-up failures of workers, or of fork servers, before the pool counts as broken. The fault is then the
# machine's, not a call's.
MOST_DEAD_ON_ARRIVAL = 5


class WorkerPool:
    """The workers of one executor.

    Attributes:
        options: Those of the executor.
        queue: Gets the calls back that a worker has not begun when it exits.
        outcomes: Ends the calls that workers answer, or die of.
        terminations: Those of workers.
        workers: All that have not exited.
        exit_due: By when a worker should have exited by itself, by the monotonic clock.
        selector: Waits for workers and the fork server; made by `open`.
        logs: Handles the log records of workers.
    """

    selector: selectors.BaseSelector

    def __init__(self, options: PoolOptions, queue: CallQueue, outcomes: Outcomes, terminations: Terminations) -> None:
        """Start nothing yet."""
        self.options = options
        self.queue = queue
        self.outcomes = outcomes
        self.terminations = terminations
        self.workers: list[WorkerConnection] = []
        self.exit_due: dict[WorkerConnection, float] = {}
        self.logs = LogReceiver()
        self._server: ForkServer | None = None
        self._starting: collections.deque[WorkerConnection] = collections.deque()
        self._by_pid: dict[int, WorkerConnection] = {}
        self._dead_on_arrival = self._dead_servers = self._server_silent = 0
        self._server_stopped = ""

    def open(self, undo: contextlib.ExitStack) -> None:
        """Start the fork server, in the caller's thread.

        Args:
            undo: Gets what closes the server and the selector again.

        Raises:
            OSError: The system starts no more processes, or gives no descriptor.
            RuntimeError: There is no Python interpreter.
        """
        self._server = self._new_server()
        undo.callback(self._server.close, now=True)
        self.selector = _new_selector()
        undo.callback(self.selector.close)

    def _new_server(self) -> ForkServer:
        options = self.options
        return ForkServer(
            options.start_method,
            preload=options.preload,
            environ=dict(options.environ),
            levels=levels() if options.forward_logs else None,
        )

    # Start workers

    def start_workers(self, calls: int) -> None:
        """Start workers for so many calls, as far as `max_workers` allows.

        Raises:
            OSError: The first worker can't be started.
        """
        if len(self.workers) == self.options.max_workers:
            return
        # A worker that has a call does not count, however short its calls are: a new worker is better.
        ready = sum(worker.is_idle() or worker.initializing for worker in self.workers)
        for _ in range(min(self.options.max_workers - len(self.workers), calls - ready)):
            try:
                with no_forks():
                    self._start_worker()
            except OSError:
                if not self.workers:
                    raise
                return  # the pool goes on with the workers that it has

    def _start_worker(self) -> None:
        if self._server is None:
            self._server = self._new_server()
        if self._server.fileno() not in self.selector.get_map():
            service = self._server.service
            self.selector.register(self._server, selectors.EVENT_READ, self._on_events)
            self.selector.register(service, selectors.EVENT_READ, lambda _: service.answer())
        worker = WorkerConnection(self.options.max_tasks_per_child)
        self._server.start_worker(worker.child_end, worker.tokens)
        worker.hand_over()
        self._starting.append(worker)
        self.workers.append(worker)
        self.selector.register(worker.connection, selectors.EVENT_READ, functools.partial(self._on_worker, worker))
        if self._server.preparation:
            worker.prepare(self._server.preparation)
        if self.options.heartbeat_timeout is not None:
            worker.ask_for_beats(min(self.options.heartbeat_timeout / LOOKS, LONGEST))
        if self.outcomes.first_call is not None:
            worker.initialize(self.outcomes.first_call)
        self.flush(worker)

    # Talk to workers

    def flush(self, worker: WorkerConnection) -> None:
        """Send what the worker's socket takes now, and the rest when it takes more."""
        if worker.open:
            events = selectors.EVENT_READ if worker.flush() else selectors.EVENT_READ | selectors.EVENT_WRITE
            if self.selector.get_key(worker.connection).events != events:
                self.selector.modify(worker.connection, events, functools.partial(self._on_worker, worker))

    def _on_worker(self, worker: WorkerConnection, events: int) -> None:
        if not worker.open:
            return  # closed by an event that was handled a moment before
        if events & selectors.EVENT_WRITE:
            self.flush(worker)
        if events & selectors.EVENT_READ:
            answers = worker.receive()
            if answers is None:
                self.stop_listening(worker)  # it exits, which the fork server reports, or else it is ended
                self.expect_exit(worker)
            else:
                for answer in answers:
                    self._on_answer(worker, *answer)

    def read(self, worker: WorkerConnection) -> None:
        """Handle all answers of a worker that have arrived."""
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
        elif kind == LOG:
            logging_call = worker.calls.get(number)
            if buffers is not None:  # else there was no memory for it
                self.logs.put(bytes(data), name_of(logging_call.fn) if logging_call else "")
        else:
            self.outcomes.settle(worker.answered(number, tag, started), kind, data, buffers)

    # Hear from the fork server

    def _on_events(self, _: int) -> None:
        assert self._server is not None
        events = self._server.read_events()
        if events is None:
            self._on_server_lost()
            return
        for event in events:
            if event.kind == EXITED:
                worker = self._by_pid.pop(event.pid)
                if worker in self.workers:
                    self._on_worker_exit(worker, describe_exit(event.code, event.out_of_memory), event)
                    self._check_arrivals(worker, event)
                continue
            worker = self._starting.popleft()
            if event.kind == STARTED:
                worker.pid = event.pid
                self._by_pid[event.pid] = worker
                self._dead_servers = 0
                self.terminations.started(worker)
            else:
                self._on_worker_exit(worker, "could not be started")
                if not self.workers:
                    raise OSError(event.code, f"No worker can be started: {os.strerror(event.code)}")

    def _check_arrivals(self, worker: WorkerConnection, event: WorkerEvent) -> None:
        """Give up after consecutive start-up failures."""
        self._dead_on_arrival += not worker.ready and not worker.retired
        if self._dead_on_arrival >= MOST_DEAD_ON_ARRIVAL:
            msg = f"{self._dead_on_arrival} workers in a row died before their first call; the last of them, which "
            msg += f"{describe_exit(event.code, event.out_of_memory)}, wrote to stderr:\n"
            msg += event.stderr_tail or "(nothing)"
            raise RuntimeError(msg)

    def _on_worker_exit(self, worker: WorkerConnection, how: str, event: WorkerEvent | None = None) -> None:
        if worker.retired:
            self.workers.remove(worker)
            if worker.pid is None:
                self.terminations.finish(worker)
            return
        self.read(worker)
        worker.initializing = False
        self.queue.requeue([call for call in worker.reclaim() if call is not self.outcomes.first_call])
        self._remove(worker)
        worker.note_end()
        for call in worker.calls.values():
            self.outcomes.fail(call, died, worker.pid, how, event)

    def _on_server_lost(self) -> None:
        assert self._server is not None
        from amltk.remote.process_tree import end_process_trees

        # Before the server is closed, since that makes the kernel kill workers, but not what they started.
        end_process_trees(self._by_pid, _fork_server.GRACE)
        self.selector.unregister(self._server)
        self.selector.unregister(self._server.service)
        self._server.close(now=True)
        code, command = self._server.exit_code, self._server.command
        self._dead_servers += not self._server.has_started
        was_killed = code is not None and code < 0
        broken_from_the_start = not self._server.has_started and not was_killed
        self._server = None
        if broken_from_the_start or self._dead_servers >= MOST_DEAD_ON_ARRIVAL:
            msg = f"The fork server ended with exit code {code} before it started a worker; see its stderr."
            if command:
                msg += f" It was started as {command[0]}. If that is not a Python interpreter, set "
                msg += "the one to use: multiprocessing.set_executable(path)."
            raise RuntimeError(msg)
        self._by_pid.clear()
        self._starting.clear()
        how = f"had to be ended because the fork server {self._server_stopped or describe_exit(code)}"
        for worker in list(self.workers):
            self._on_worker_exit(worker, how)
        self._server_stopped = ""

    def check_server(self, timeout: float) -> None:
        """Count one more look; kill the fork server if it was stopped at each of them, and a worker waits for it.

        Its end of file comes next, and then another one is started.
        """
        waits = self._starting or not all(worker.open for worker in self.workers)
        stopped = self._server is not None and waits and self._server.is_stopped()
        self._server_silent = self._server_silent + 1 if stopped else 0
        if self._server_silent == LOOKS + 1:
            assert self._server is not None
            self._server_stopped = f"was stopped (SIGSTOP), and did not continue within {timeout:g} s"
            _log.warning("The fork server, process %d, %s. It is replaced.", self._server.pid, self._server_stopped)
            self._server.kill()

    # Let workers go

    def stop_listening(self, worker: WorkerConnection) -> None:
        """Read nothing more from a worker."""
        if worker.open:
            self.selector.unregister(worker.connection)
            worker.open = False

    def expect_exit(self, worker: WorkerConnection) -> None:
        """Note that a worker is about to exit by itself; `CallKiller` ends one that has not after a grace period."""
        self.exit_due[worker] = time.monotonic() + _fork_server.GRACE

    def recycle(self, worker: WorkerConnection) -> None:
        """Have an idle worker exit that gets no more calls; another one takes its place after that."""
        self.stop_listening(worker)
        worker.retire()
        self.expect_exit(worker)

    def _remove(self, worker: WorkerConnection) -> None:
        self.stop_listening(worker)
        worker.close()
        self.workers.remove(worker)

    # End

    def close_workers(self) -> list[tuple[Call, int | None]]:
        """Reclaim waiting calls, and close all connections; return the calls that run, with their workers' pids."""
        for worker in self.workers:
            self.queue.requeue(worker.reclaim())
        for worker in self.workers:
            worker.note_end()
        running = [(call, worker.pid) for worker in self.workers for call in worker.calls.values()]
        for worker in list(self.workers):
            self._remove(worker)  # an idle worker exits then, and an exception ends one that survives SIGTERM
        return running

    def close_server(self, *, now: bool) -> None:
        """End the fork server, its workers, and what these have started (see `ForkServer.close`)."""
        if self._server is not None:
            self._server.close(now=now)

    def forget(self) -> None:
        """Close this process's descriptors only: it is a fork, and the pool is its parent's."""
        self.selector.close()
        for worker in self.workers:
            with contextlib.suppress(OSError):  # the parent's thread was about to close it
                worker.close()
        if self._server is not None:
            with contextlib.suppress(OSError):  # likewise
                self._server.forget()


def _new_selector() -> selectors.BaseSelector:
    """Make a selector whose descriptor, if it has one, is above the standard ones."""
    low = []
    while getattr(selector := selectors.DefaultSelector(), "fileno", lambda: 3)() < 3:
        low.append(selector)
    for each in low:
        each.close()
    return selector
