"""Pools of loky: one of ours for each worker, or the one that loky keeps for all who ask."""

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
    """What is known of a pool's worker that ended.

    Attributes:
        begun: Whether it had begun the call that it was given last.
        started: When it began that, in seconds of `time.time()`; None if unknown.
    """

    begun: bool = True
    started: float | None = None


class Pool:
    """A pool of loky, as far as one needs to know here.

    Attributes:
        room: How many more calls it can run at the same time.
        shared: Whether it is loky's, and others use it, too.
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
        """Take a pool that has `room`.

        Args:
            pool: It.
            room: See the attribute.
            notes: Where its worker notes what it does, if it is one of ours.
            ends: Of pipes, to be kept open for as long as there are workers.
            shared: See the attribute.
        """
        self.room = room
        self.shared = shared
        self._pool = pool
        self._notes = notes
        self._ends = ends
        self._dead: set[int] = set()

    def submit(self, data: bytes) -> Future[_worker.Outcome]:
        """Have a worker run the call.

        Raises:
            BrokenProcessPool: A worker has died while it had nothing to do.
            RuntimeError: It was shut down.
            OSError: The system can't start a process.
        """
        future: Future[_worker.Outcome] = self._pool.submit(_worker.run, data)
        return future

    def forget_notes(self) -> None:
        """Read the notes of a call that has ended."""
        self._read_notes()

    def exit_info(self) -> PoolExit:
        """Return what is known of a worker that has just died, and end what it has left behind."""
        # loky takes them out when it has told all futures.
        dead = [each for each in list(self._pool._processes.values()) if each.exitcode is not None]
        pid, exit_code = (dead[0].pid, dead[0].exitcode) if dead else (None, None)
        self._dead |= {each.pid for each in dead}
        _kill(_members(self._dead))  # trackers of theirs are left to `close`
        notes = self._read_notes()
        began = _BEGAN.search(notes)
        started = float(began[1]) if began else None
        stderr_tail = _BEGAN.sub(b"", notes).decode(errors="replace").strip()
        begun = self._notes is None or began is not None
        return PoolExit(pid, exit_code, stderr_tail=stderr_tail, begun=begun, started=started)

    def close(self) -> None:
        """Have its workers end, which have nothing to do; comes back when they are gone, with what they left."""
        queue, pids = self._pool._call_queue, self.workers()
        # Threads that a call started can keep a worker; in a pool that others use, these may have calls.
        guard = threading.Timer(_PATIENCE, end_process_trees, ([] if self.shared else pids, 0))
        guard.start()
        self._pool.shutdown(wait=True)
        guard.cancel()
        guard.join()
        active_children()  # joins, among others, those that loky doesn't when they are dead before it kills them
        _bury(_members(self._dead.union(pids)))
        if queue is not None:  # loky does not wait for the thread that sends, and leaves it alone with a dead worker
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


def _bury(processes: Collection[psutil.Process]) -> None:
    """Kill processes; comes back when they are gone."""
    _kill(processes)
    _, left = psutil.wait_procs(processes, _PATIENCE)
    for process in left:
        with contextlib.suppress(psutil.Error):
            process.kill()


def _kill(processes: Iterable[psutil.Process]) -> None:
    """Kill processes, but not resource trackers, as joblib has them: these clean up after the others, and end."""
    for process in processes:
        with contextlib.suppress(psutil.Error):
            if not is_resource_tracker(process):
                process.kill()


def _members(leaders: Iterable[int]) -> list[psutil.Process]:
    """Return who is in the groups that workers lead, or led before they died, but for themselves."""
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
    """Hold some descriptors while a worker starts: who looks after the workers needs them later.

    Raises:
        OSError: The system has none to give.
    """
    with contextlib.ExitStack() as held:
        for _ in range(_SPARE):
            held.callback(os.close, os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))
        yield


def own(initializer: bytes | None, **options: Any) -> Pool:
    """Make a pool of ours, of one worker, so that one that dies takes nothing with it but its call.

    Args:
        initializer: The user's, with its arguments, pickled.
        options: As loky's pools take them.
    """
    _allow_replacements()
    with contextlib.ExitStack() as unless_made:
        ends = []
        for _ in range(2):
            ends += [unless_made.enter_context(end) for end in Pipe(duplex=False)]
        life, _, notes, to_notes = ends
        for end in (notes, to_notes):
            os.set_blocking(end.fileno(), False)  # what is too much is dropped
        initargs = life, to_notes, get_start_method(allow_none=True), initializer
        pool = Pool(
            loky.ProcessPoolExecutor(1, initializer=_worker.begin, initargs=initargs, **options), 1, notes, ends
        )
        unless_made.pop_all()
        return pool


def shared(max_workers: int, **options: Any) -> Pool:
    """Take the pool that loky keeps: for this thread, or before 3.7 for the whole program."""
    _allow_replacements()
    return Pool(loky.get_reusable_executor(max_workers, **options), max_workers, shared=True)


def _allow_replacements() -> None:
    """Have loky's warnings that it replaces a worker shown, also where warnings are errors.

    It warns in the thread that looks after the workers, which an exception ends: before loky 3.7, calls are then waited
    for without end, and since then the pool breaks.
    """
    warnings.filterwarnings("default", "A worker (stopped|was restarted) while", UserWarning, r"loky\.")
