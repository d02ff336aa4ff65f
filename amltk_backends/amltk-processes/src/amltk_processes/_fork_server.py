"""Where workers come from: a small process of one thread, which forks when it is asked to.

    main process: ForkServer                           fork server: main()              worker: work()
      start_worker(socket, tokens) ──both, as descriptors──>  fork() ────────────────────────> runs
      reports()            <──── STARTED pid ──────────────┘
                           <──── DIED pid, exit code ────── waits for its children <─────────── ends
      close()              ──── end of file ──────────────> ends what is left, then itself

It starts as a fresh interpreter that does not know the user's script. So threads of the main
process are no danger, and nothing is imported twice. When the main process ends in whatever way,
the end of file comes too. This module is the only one that knows how processes are started.
"""

from __future__ import annotations

import contextlib
import gc
import os
import select
import signal
import socket
import struct
import subprocess
import sys
import time
from typing import NamedTuple

from amltk_processes._worker import work

# Seconds between the request to end (SIGTERM) and force (SIGKILL).
GRACE = 2.0
# Seconds beyond that, after which the server itself seems to be stuck.
PATIENCE = 5.0

_START, _BYE = b"s", b"b"
STARTED, NOT_STARTED, DIED = range(3)
_REPORT = struct.Struct("<Bii")
_BOOT = "import sys; sys.path[:] = {path!r}; from amltk_processes._fork_server import main; main({fd}, {grace})"


class Report(NamedTuple):
    """What the server says.

    Attributes:
        kind: STARTED and NOT_STARTED come in the order of the requests, DIED at any time after.
        pid: Of the worker.
        code: The exit code of a dead worker, negative for a signal; the errno of a fork that failed.
    """

    kind: int
    pid: int
    code: int


class ForkServer:
    """The main process's side: start workers, hear of their deaths."""

    def __init__(self) -> None:
        """Start the server, without waiting for it.

        Raises:
            OSError: The system starts no more processes, or the interpreter can't be found.
        """
        self._control, theirs = socket.socketpair()
        path = [entry for entry in sys.path if isinstance(entry, str)]
        flags: list[str] = subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined]
        boot = _BOOT.format(path=path, fd=theirs.fileno(), grace=GRACE)
        with theirs:
            # A session of its own: Ctrl-C is the main process's business, which then decides.
            self._process = subprocess.Popen(
                [sys.executable, *flags, "-c", boot],
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )
        self._received = b""

    @property
    def exit_code(self) -> int | None:
        """The server's exit code, once it was closed."""
        return self._process.returncode

    @property
    def pid(self) -> int:
        """The server's process id."""
        return self._process.pid

    def fileno(self) -> int:
        """Return what becomes readable when there are reports."""
        return self._control.fileno()

    def start_worker(self, connection: socket.socket, tokens: int) -> None:
        """Ask for a worker that works with these two (see `work`); the caller may close them then."""
        with contextlib.suppress(ConnectionError):  # it is gone; whoever reads the reports will see
            socket.send_fds(self._control, [_START], [connection.fileno(), tokens])

    def reports(self) -> list[Report] | None:
        """Wait for reports, and return those that are there; None when the server is gone."""
        try:
            received = self._control.recv(1 << 16)
        except ConnectionError:
            return None
        if not received:
            return None
        data = self._received + received
        complete = len(data) - len(data) % _REPORT.size
        self._received = data[complete:]
        return [Report(*fields) for fields in _REPORT.iter_unpack(data[:complete])]

    def close(self, *, now: bool) -> None:
        """End the server, its workers, and what these have started; wait until everything is gone.

        Args:
            now: Whatever workers do. Otherwise they get the time of `GRACE` to end by themselves.
        """
        with contextlib.suppress(ConnectionError):
            if not now:
                self._control.send(_BYE)
            self._control.shutdown(socket.SHUT_WR)
        self._control.settimeout(GRACE * (1 if now else 2) + PATIENCE)
        try:
            while self.reports() is not None:
                pass
        except TimeoutError:  # it was stopped, say
            from amltk_processes._ending import end_process_trees

            end_process_trees([self.pid], 0)
        self._process.wait()
        self._control.close()

    def forget(self) -> None:
        """Close this process's descriptors only: it is a fork, and the server is its parent's."""
        self._control.close()
        self._process.returncode = 0


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
            if request == _BYE:
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
            self._control.sendall(_REPORT.pack(kind, pid, code))

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
