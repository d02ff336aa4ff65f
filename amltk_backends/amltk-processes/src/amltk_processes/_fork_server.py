"""Where workers come from: a small process of one thread, which forks when it is asked to.

    main process: ForkServer                           fork server: _server.py            worker: work()
      start_worker(socket, tokens) ──both, as descriptors──>  fork() ────────────────────────> runs
      reports()            <──── STARTED pid ──────────────┘
                           <──── DIED pid, exit code ────── waits for its children <─────────── ends
      close()              ──── end of file ──────────────> ends what is left, then itself

It starts as a fresh interpreter that does not know the user's script. So threads of the main
process are no danger, and nothing is imported twice. When the main process ends in whatever way,
the end of file comes too. This module and _server.py are the only ones that know how processes are started.
"""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
from typing import NamedTuple

from amltk_processes._server import BYE, REPORT, START

# Seconds between the request to end (SIGTERM) and force (SIGKILL).
GRACE = 2.0
# Seconds beyond that, after which the server itself seems to be stuck.
PATIENCE = 5.0

_BOOT = "import sys; sys.path[:] = {path!r}; from amltk_processes._server import main; main({fd}, {grace})"


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
            socket.send_fds(self._control, [START], [connection.fileno(), tokens])

    def reports(self) -> list[Report] | None:
        """Wait for reports, and return those that are there; None when the server is gone."""
        try:
            received = self._control.recv(1 << 16)
        except ConnectionError:
            return None
        if not received:
            return None
        data = self._received + received
        complete = len(data) - len(data) % REPORT.size
        self._received = data[complete:]
        return [Report(*fields) for fields in REPORT.iter_unpack(data[:complete])]

    def close(self, *, now: bool) -> None:
        """End the server, its workers, and what these have started; wait until everything is gone.

        Args:
            now: Whatever workers do. Otherwise they get the time of `GRACE` to end by themselves.
        """
        with contextlib.suppress(ConnectionError):
            if not now:
                self._control.send(BYE)
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
