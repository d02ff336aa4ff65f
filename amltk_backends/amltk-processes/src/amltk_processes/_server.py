"""The fork server's own side: it starts workers, waits for them, and says how they died (see _fork_server.py)."""

from __future__ import annotations

import contextlib
import gc
import os
import select
import signal
import socket
import struct
import time

from amltk_processes._worker import work

START, BYE = b"s", b"b"
STARTED, NOT_STARTED, DIED = range(3)
REPORT = struct.Struct("<Bii")


def main(fd: int, grace: float) -> None:
    """Be the fork server; in a child of it, be a worker.

    Args:
        fd: The server's end of the control socket.
        grace: Seconds between SIGTERM and SIGKILL.
    """
    signal.pthread_sigmask(signal.SIG_SETMASK, ())  # the thread that started us may have blocked some
    control = socket.socket(fileno=fd)
    control.set_inheritable(False)
    # The stack of the loop is left before a worker begins, and the worker ends as any program does,
    # exit functions included.
    gc.freeze()  # what is here now stays: no worker need look at it, and copy it, when it collects garbage
    worker = _Server(control, grace).serve()
    if worker is None:
        os._exit(0)  # there is nothing to clean up, and somebody waits
    work(*worker)


class _Server:
    def __init__(self, control: socket.socket, grace: float) -> None:
        self._control = control
        self._grace = grace
        self._workers: set[int] = set()
        # Dead workers by pid, which is their group's id too, and when force is due for what they left.
        self._orphaned: dict[int, float] = {}
        self._wake_read, self._wake_write = os.pipe()
        os.set_blocking(self._wake_write, False)
        signal.set_wakeup_fd(self._wake_write, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)

    def serve(self) -> tuple[socket.socket, int] | None:
        grace_for_workers = 0.0
        while True:
            if not self._await([self._control.fileno()], None):
                continue
            try:
                request, descriptors, _, _ = socket.recv_fds(self._control, 1, 2)
            except ConnectionError:
                request = b""
            if not request:
                break
            if request == BYE:
                grace_for_workers = self._grace
            elif self._fork(descriptors):
                os.set_inheritable(descriptors[1], False)
                connection = socket.socket(fileno=descriptors[0])
                connection.set_inheritable(False)
                return connection, descriptors[1]
        until = time.monotonic() + grace_for_workers
        while (self._workers or self._orphaned) and (left := until - time.monotonic()) > 0:
            self._await([], left)
        if self._workers or self._orphaned:
            from amltk_processes._ending import end_process_trees

            end_process_trees(self._workers | self._orphaned.keys(), self._grace)
        return None

    def _await(self, watched: list[int], timeout: float | None) -> list[int]:
        """Wait, and see to the dead; return which of `watched` can be read."""
        readable, _, _ = select.select([*watched, self._wake_read], [], [], 0.02 if self._orphaned else timeout)
        if self._wake_read in readable:
            readable.remove(self._wake_read)
            os.read(self._wake_read, 1 << 12)
            self._bury()
        self._end_orphans()
        return readable

    def _fork(self, descriptors: list[int]) -> bool:
        """Fork; True in the child."""
        try:
            pid = os.fork()
        except OSError as error:
            self._report(NOT_STARTED, 0, error.errno or 0)
            pid = -1
        if pid == 0:
            os.setsid()  # a group that can be signalled as a whole, and no terminal whose Ctrl-C it would get
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            for fd in (self._wake_read, self._wake_write):
                os.close(fd)
            self._control.close()
            return True
        for fd in descriptors:
            os.close(fd)
        if pid > 0:
            self._workers.add(pid)
            self._report(STARTED, pid, 0)
        return False

    def _report(self, kind: int, pid: int, code: int) -> None:
        with contextlib.suppress(ConnectionError):  # the end of file comes next
            self._control.sendall(REPORT.pack(kind, pid, code))

    def _bury(self) -> None:
        # A look first: while the body lies there, its number stays the group's and nobody else's.
        options = os.WEXITED | os.WNOHANG | os.WNOWAIT
        while self._workers and (dead := os.waitid(os.P_ALL, 0, options)):
            self._signal_group(dead.si_pid, signal.SIGTERM)
            _, status = os.waitpid(dead.si_pid, 0)
            self._workers.discard(dead.si_pid)
            self._orphaned[dead.si_pid] = time.monotonic() + self._grace
            self._report(DIED, dead.si_pid, os.waitstatus_to_exitcode(status))

    def _end_orphans(self) -> None:
        for group, force_due in list(self._orphaned.items()):
            late = time.monotonic() - force_due
            # Even then it takes a moment, or for ever where nobody buries what has no parent.
            if not self._signal_group(group, signal.SIGKILL if late >= 0 else 0) or late > 1:
                del self._orphaned[group]

    @staticmethod
    def _signal_group(group: int, number: int) -> bool:
        """Signal a process group; False if it is gone."""
        try:
            os.killpg(group, number)
        except (ProcessLookupError, PermissionError):
            return False
        return True
