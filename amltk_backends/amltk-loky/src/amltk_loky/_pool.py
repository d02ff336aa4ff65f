"""Pools of loky: one of our own for each worker, or loky's reusable one."""

from __future__ import annotations

import contextlib
import os
import re
import threading
import warnings
from collections.abc import Collection, Iterable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from multiprocessing import Pipe, active_children, get_start_method
from multiprocessing.connection import Connection
from typing import Any

import loky
import psutil

from amltk.remote.process_tree import end_process_trees, is_resource_tracker
from amltk.remote.worker_errors import WorkerExit
from amltk_loky import _worker

_MOST_NOTES = 1 << 16
_BEGAN = re.compile(re.escape(_worker.BEGUN) + rb"([\d.]+)" + re.escape(_worker.BEGUN))
_PATIENCE = 2.0
_SPARE = 4


@dataclass(frozen=True)
class PoolExit(WorkerExit):
    """How a pool's worker ended, as far as known.

    Attributes:
        begun: Whether it had begun the last call that it was given.
        started: When it began that call, in seconds of `time.time()`; None if unknown.
    """

    begun: bool = True
    started: float | None = None


class Pool:
    """A pool of loky, as `LokyExecutor` uses it.

    Attributes:
        room: How many more calls it can run at the same time.
        shared: Whether it is loky's reusable pool, which other code may use, too.
    """

    def __init__(
        self,
        pool: loky.ProcessPoolExecutor,
        room: int,
        notes: Connection | None = None,
        ends: Iterable[Connection] = (),
        *,
        shared: bool = False,
    ) -> None:
        """Wrap a pool.

        Args:
            pool: The pool.
            room: See the attribute.
            notes: Receives the notes of its worker, if the pool is our own.
            ends: Ends of pipes, to be kept open as long as there are workers.
            shared: See the attribute.
        """
        self.room = room
        self.shared = shared
        self._pool = pool
        self._notes = notes
        self._ends = ends
        self._dead: set[int] = set()

    def submit(self, data: bytes) -> Future[_worker.Outcome]:
        """Give the call to a worker.

        Raises:
            BrokenProcessPool: An idle worker has died.
            RuntimeError: The pool was shut down.
            OSError: The system can't start a process.
        """
        future: Future[_worker.Outcome] = self._pool.submit(_worker.run, data)
        return future

    def forget_notes(self) -> None:
        """Discard the notes of a call that has ended."""
        self._read_notes()

    def exit_info(self) -> PoolExit:
        """Return how a worker has just died, and end the processes that it left."""
        # loky removes them after it has ended all futures
        dead = [each for each in list(self._pool._processes.values()) if each.exitcode is not None]
        pid, exit_code = (dead[0].pid, dead[0].exitcode) if dead else (None, None)
        self._dead |= {each.pid for each in dead}
        _kill(_members(self._dead))  # `close` handles their resource trackers
        notes = self._read_notes()
        began = _BEGAN.search(notes)
        started = float(began[1]) if began else None
        stderr_tail = _BEGAN.sub(b"", notes).decode(errors="replace").strip()
        begun = self._notes is None or began is not None
        return PoolExit(pid, exit_code, stderr_tail=stderr_tail, begun=begun, started=started)

    def close(self) -> None:
        """End the idle workers; return when they and the processes that they left are gone."""
        queue, pids = self._pool._call_queue, self.workers()
        # Threads that a call started can keep a worker alive; in a shared pool, the workers may have other calls.
        guard = threading.Timer(_PATIENCE, end_process_trees, ([] if self.shared else pids, 0))
        guard.start()
        self._pool.shutdown(wait=True)
        guard.cancel()
        guard.join()
        active_children()  # also joins dead processes that loky has not joined
        _end(_members(self._dead.union(pids)))
        if queue is not None:  # loky does not wait for its sending thread, which stays if the worker is dead
            queue._reader.close()
            if queue._thread is not None:
                queue._thread.join()
        for end in self._ends:
            end.close()

    def workers(self) -> list[int]:
        """Return the ids of its worker processes."""
        return list(self._pool._processes)

    def _read_notes(self) -> bytes:
        if self._notes is None:
            return b""
        with contextlib.suppress(BlockingIOError):
            return os.read(self._notes.fileno(), _MOST_NOTES)
        return b""


def _end(processes: Collection[psutil.Process]) -> None:
    """Kill processes; return when they are gone."""
    _kill(processes)
    _, left = psutil.wait_procs(processes, _PATIENCE)
    for process in left:
        with contextlib.suppress(psutil.Error):
            process.kill()


def _kill(processes: Iterable[psutil.Process]) -> None:
    """Kill processes, except resource trackers such as joblib's: they clean up after the others, and end."""
    for process in processes:
        with contextlib.suppress(psutil.Error):
            if not is_resource_tracker(process):
                process.kill()


def _members(leaders: Iterable[int]) -> list[psutil.Process]:
    """Return the other members of the process groups that workers lead, or led before they died."""
    groups = set(filter(_is_group, leaders))
    found = []
    for pid in psutil.pids() if groups else ():
        with contextlib.suppress(ProcessLookupError, psutil.Error):
            if pid not in groups and os.getpgid(pid) in groups:
                found.append(psutil.Process(pid))
    return found


def _is_group(pid: int) -> bool:
    try:
        os.killpg(pid, 0)
    except (ProcessLookupError, PermissionError):
        return False
    return True


@contextlib.contextmanager
def spare_files() -> Iterator[None]:
    """Hold some descriptors while a worker starts: the thread that manages workers needs them later.

    Raises:
        OSError: The system has no descriptors left.
    """
    with contextlib.ExitStack() as held:
        for _ in range(_SPARE):
            held.callback(os.close, os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))
        yield


def own(initializer: bytes | None, **options: Any) -> Pool:
    """Make a pool of one worker, so that a dead worker affects only its own call.

    Args:
        initializer: The user's initializer with its arguments, pickled.
        options: Options of loky's pools.
    """
    _allow_replacements()
    with contextlib.ExitStack() as unless_made:
        ends = []
        for _ in range(2):
            ends += [unless_made.enter_context(end) for end in Pipe(duplex=False)]
        parent_pipe, _, notes, to_notes = ends
        for end in (notes, to_notes):
            os.set_blocking(end.fileno(), False)  # data that does not fit is dropped
        initargs = parent_pipe, to_notes, get_start_method(allow_none=True), initializer
        pool = Pool(
            loky.ProcessPoolExecutor(1, initializer=_worker.begin, initargs=initargs, **options), 1, notes, ends
        )
        unless_made.pop_all()
        return pool


def shared(max_workers: int, **options: Any) -> Pool:
    """Use loky's reusable pool: this thread's, or before loky 3.7 the whole program's."""
    _allow_replacements()
    return Pool(loky.get_reusable_executor(max_workers, **options), max_workers, shared=True)


def _allow_replacements() -> None:
    """Have loky's warnings about replaced workers shown, even if warnings are errors.

    loky warns in the thread that manages its workers. An exception ends that thread: before loky 3.7, calls then hang.
    Later versions break the pool.
    """
    warnings.filterwarnings("default", "A worker (stopped|was restarted) while", UserWarning, r"loky\.")
