"""Workers that are ended while the pool goes on, because of what their call did or what became of it.

      dispatcher's thread                                     a thread for each

      begin(worker, grace, then) ────────────────────────────> end_process_trees
        │  (or started(worker), if the worker is just starting)   │ the worker, its children and grandchildren
      settle() <──────────────────────────── wakes it ────────────┘ are gone
        └─> then(gone)

Such a worker is given nothing more, and what it still says is not heard. It keeps its place until
it is dead, so that there are never more workers than asked for.
"""

from __future__ import annotations

import collections
import contextlib
import os
import signal
import threading
from collections.abc import Callable
from typing import NamedTuple

from amltk_processes._worker_connection import WorkerConnection


class _Termination(NamedTuple):
    grace: float
    then: Callable[[bool], None]


class Terminations:
    """Those that are under way. All methods are for the dispatcher's thread."""

    def __init__(self, wake: Callable[[], None]) -> None:
        """Begin with none; `wake` makes the dispatcher's thread call `settle`."""
        self._wake = wake
        self._under_way: dict[WorkerConnection, _Termination] = {}
        self._threads: dict[WorkerConnection, threading.Thread] = {}
        self._over: collections.deque[tuple[WorkerConnection, bool]] = collections.deque()
        self._watched: list[tuple[set[WorkerConnection], threading.Event]] = []

    def begin(self, worker: WorkerConnection, grace: float, then: Callable[[bool], None]) -> None:
        """End a worker with all that it started, whose connection is closed.

        Args:
            worker: The way to it.
            grace: Seconds between SIGTERM and SIGKILL; with 0, SIGKILL comes at once.
            then: Called at the end with whether nothing of it is left, which is all but certain.
        """
        self._under_way[worker] = _Termination(grace, then)
        if worker.pid is not None:
            self.started(worker)

    def started(self, worker: WorkerConnection) -> None:
        """Take note that the process id of a worker has become known; it may be one that is to end."""
        termination = self._under_way.get(worker)
        if termination is None:
            return
        thread = threading.Thread(
            target=self._end, args=(worker, termination.grace), name="amltk-processes: ends a worker", daemon=True
        )
        self._threads[worker] = thread
        try:
            thread.start()
        except RuntimeError:  # the system has no thread to give: then the pool waits
            del self._threads[worker]
            self._end(worker, termination.grace)

    def _end(self, worker: WorkerConnection, grace: float) -> None:
        assert worker.pid is not None
        gone = False
        try:
            from amltk.remote.process_tree import end_process_trees  # it is loaded: see `Dispatcher._start_workers`

            gone = end_process_trees([worker.pid], grace)
        except BaseException:  # memory ran out, say; this takes nothing, and the fork server ends what is left
            with contextlib.suppress(OSError):
                os.killpg(worker.pid, signal.SIGKILL)
        finally:
            self._over.append((worker, gone))
            self._wake()

    def settle(self) -> None:
        """Do what was to be done after those terminations that are over."""
        while self._over:
            self.finish(*self._over.popleft())

    def finish(self, worker: WorkerConnection, gone: bool = True) -> None:
        """Take an ending as over; `gone` is whether nothing of the worker is left."""
        termination = self._under_way.pop(worker, None)
        if termination is None:
            return
        if thread := self._threads.pop(worker, None):
            thread.join()
        termination.then(gone)
        self._tell()

    def finish_all(self) -> None:
        """Wait for all, and take them as over."""
        for thread in list(self._threads.values()):
            thread.join()
        self.settle()
        for worker in list(self._under_way):
            self.finish(worker)

    def watch(self, over: threading.Event) -> None:
        """Set an event when the terminations that are under way now are over."""
        self._watched.append((set(self._under_way), over))
        self._tell()

    def _tell(self) -> None:
        waiting, self._watched = self._watched, []
        for workers, over in waiting:
            if workers & self._under_way.keys():
                self._watched.append((workers, over))
            else:
                over.set()

    def __contains__(self, worker: WorkerConnection) -> bool:
        return worker in self._under_way

    def __bool__(self) -> bool:
        return bool(self._under_way)
