"""The process of a limited call, as its parent sees it."""

from __future__ import annotations

import contextlib
import math
import os
import select
import signal
import time
from collections.abc import Iterator

import psutil

from amltk_pynisher import _child, _records
from amltk_pynisher._pipe import BEGUN, ERROR, HEADER, LOADING_COST, RESULT

# Seconds between two looks whether a process has died while a child of it holds the pipe open.
_LOOK_SECONDS = 0.05
# Seconds to wait until killed processes are gone; only those that hang in the kernel take longer.
GONE_SECONDS = 0.5


class CallProcess:
    """The process of one call, as its parent sees it."""

    def __init__(self, pid: int, reader: int, obstacle: str | None) -> None:
        self.pid = pid
        self.obstacle = obstacle  # the reason for a fresh interpreter; None: a fork
        self.loading_cost = 0.0  # cpu seconds until the fresh interpreter began the call
        self.closed_pipe = False
        self.timed_out = False
        self.exit_code = 0
        self.cpu_seconds = 0.0
        self.closing = False
        self._reader = reader
        self._may_have_children = True

    @property
    def fresh_interpreter(self) -> str:
        """A sentence for errors, if the process is a fresh interpreter."""
        if self.obstacle is None:
            return ""
        return f" It ran in a fresh interpreter, which imports its modules anew, because {self.obstacle}."

    def answer(self, wall_time: float | None, function: object) -> tuple[bool, bytes] | None:
        """Wait for the outcome of the call: whether it succeeded, and the pickle. None if there is none.

        Meanwhile, it handles the log records and warnings of the call of `function`.
        """
        loading = 0 if self.obstacle is None else _child.LOADING_SECONDS
        deadline = math.inf if wall_time is None else time.monotonic() + wall_time + loading
        received = bytearray()
        dead = False
        poll = select.poll()
        poll.register(self._reader, select.POLLIN)
        while True:
            left = min(_LOOK_SECONDS, deadline - time.monotonic())
            if poll.poll(max(0, left) * 1000):
                part = os.read(self._reader, 1 << 20)
                if not part:
                    self.closed_pipe = not (dead or self._ends_soon())
                    return None
                received += part
                for kind, data in self._frames(received):
                    if kind in (RESULT, ERROR):
                        self.timed_out = False  # the outcome came just in time
                        return kind == RESULT, data
                    if kind == BEGUN:
                        [self.loading_cost] = LOADING_COST.unpack(data)
                        deadline = math.inf if wall_time is None else time.monotonic() + wall_time
                    else:
                        _records.handle(kind, data, function)
                if len(received) >= HEADER.size and received[0] in (RESULT, ERROR):
                    deadline = math.inf  # the function has ended
            elif dead:
                return None  # and the pipe is empty
            else:
                dead = not _is_alive(self.pid)
            if not dead and time.monotonic() >= deadline and left <= 0:
                self.kill()
                self.timed_out = dead = True  # what it has sent is still read

    def _frames(self, received: bytearray) -> Iterator[tuple[int, bytes]]:
        """Remove the complete frames from `received`, and yield them."""
        while len(received) >= HEADER.size:
            kind, has_children, length = HEADER.unpack_from(received)
            if kind in (RESULT, ERROR):
                self._may_have_children = has_children
            end = HEADER.size + length
            if len(received) < end:
                return
            data = bytes(memoryview(received)[HEADER.size : end])
            del received[:end]
            yield kind, data

    def _ends_soon(self) -> bool:
        until = time.monotonic() + GONE_SECONDS
        while _is_alive(self.pid):
            if time.monotonic() > until:
                return False
            time.sleep(0.002)
        return True

    def kill(self) -> None:
        """Kill the process and all that it has started."""
        if self._may_have_children:
            self._kill_descendants()
        for kill in (os.killpg, os.kill):  # also alone: it may not lead a group yet
            with contextlib.suppress(ProcessLookupError, PermissionError):
                kill(self.pid, signal.SIGKILL)

    def close(self) -> None:
        """Reap the process, after `kill`. Until then its id is not reused."""
        os.close(self._reader)
        with contextlib.suppress(ChildProcessError):  # the program waits for any child
            _, status, usage = os.wait4(self.pid, 0)
            self.exit_code = os.waitstatus_to_exitcode(status)
            self.cpu_seconds = usage.ru_utime + usage.ru_stime

    def _kill_descendants(self) -> None:
        until = time.monotonic() + GONE_SECONDS
        with contextlib.suppress(psutil.Error):
            root = psutil.Process(self.pid)
            root.suspend()  # so it starts no more
            while time.monotonic() < until:
                alive = [process for process in root.children(recursive=True) if _is_alive(process.pid)]
                if not alive:
                    return
                for process in alive:
                    with contextlib.suppress(psutil.Error):
                        process.kill()
                time.sleep(0.002)


def _is_alive(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.Error:
        return False
