"""Workers that are ended while the pool goes on.

      dispatcher's thread                                     a thread for each

      begin(worker, grace, then) ────────────────────────────> end_process_trees
        │  (or started(worker), if the worker is just starting)   │ the worker, its children and grandchildren
      settle() <──────────────────────────── wakes it ────────────┘ are gone
        └─> then(gone)

Such a worker gets no more calls, and nothing more is read from it. It keeps its place until it has exited, so there are
never more workers than asked for.
"""

from __future__ import annotations

import collections
import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable
from typing import NamedTuple

from amltk_processes._worker_connection import WorkerConnection


class _Termination(NamedTuple):
    grace: float
    then: Callable[[bool], None]


class Terminations:
    """The terminations under way. All methods are for the dispatcher's thread."""

    def __init__(self, wake: Callable[[], None]) -> None:
        """Start with none; `wake` makes the dispatcher's thread call `settle`, and may be called by any thread."""
        self._wake = wake
        self._under_way: dict[WorkerConnection, _Termination] = {}
        self._threads: dict[WorkerConnection, threading.Thread] = {}
        self._over: collections.deque[tuple[WorkerConnection, bool]] = collections.deque()
        self._watched: list[tuple[set[WorkerConnection], threading.Event]] = []

    def begin(self, worker: WorkerConnection, grace: float, then: Callable[[bool], None]) -> None:
        """End a worker whose connection is closed, with all that it started.

        Args:
            worker: The worker.
            grace: Seconds between SIGTERM and SIGKILL; with 0, SIGKILL comes at once.
            then: Called at the end, with False if a process may be left.
        """
        self._under_way[worker] = _Termination(grace, then)
        if worker.pid is not None:
            self.started(worker)

    def started(self, worker: WorkerConnection) -> None:
        """Note that the process id of a worker is known; end it now if that was waited for."""
        termination = self._under_way.get(worker)
        if termination is None:
            return
        thread = threading.Thread(
            target=self._end, args=(worker, termination.grace), name="amltk-processes: ends a worker", daemon=True
        )
        self._threads[worker] = thread
        try:
            thread.start()
        except RuntimeError:  # the system gives no thread, so the pool waits
            del self._threads[worker]
            self._end(worker, termination.grace)

    def _end(self, worker: WorkerConnection, grace: float) -> None:
        assert worker.pid is not None
        gone = False
        try:
            from amltk.remote.process_tree import end_process_trees  # loaded by `load_process_tree`

            gone = end_process_trees([worker.pid], grace)
        except BaseException:  # memory ran out, say; this needs none, and the fork server ends what is left
            with contextlib.suppress(OSError):
                os.killpg(worker.pid, signal.SIGKILL)
        finally:
            self._over.append((worker, gone))
            self._wake()

    def settle(self) -> None:
        """Finish the terminations whose threads are done."""
        while self._over:
            self.finish(*self._over.popleft())

    def finish(self, worker: WorkerConnection, gone: bool = True) -> None:
        """Finish the termination of a worker; `gone` is False if a process may be left."""
        termination = self._under_way.pop(worker, None)
        if termination is None:
            return
        if thread := self._threads.pop(worker, None):
            thread.join()
        termination.then(gone)
        self._tell()

    def finish_all(self) -> None:
        """Wait for all threads, and finish all terminations."""
        for thread in list(self._threads.values()):
            thread.join()
        self.settle()
        for worker in list(self._under_way):
            self.finish(worker)

    def watch(self, over: threading.Event) -> None:
        """Set an event when the terminations that are under way now are finished."""
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


def load_process_tree() -> None:
    """Import what ends workers while the first worker starts: later there may be no descriptor left to import it."""
    if "amltk.remote.process_tree" not in sys.modules:
        with contextlib.suppress(OSError, ImportError):
            import amltk.remote.process_tree  # noqa: F401
