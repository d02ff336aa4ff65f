"""The main process's side of the fork server: a small process with one thread, which forks workers on request.

    main process: ForkServer                           fork server: _server.py            worker: work()
      start_worker(socket, tokens) ──both, as descriptors──>  fork() ────────────────────────> runs
      read_events()        <──── STARTED pid ──────────────┘
                           <──── EXITED pid, exit code, ─── waits for its children <─────────── exits
                                 last lines of stderr       passes stderr on <────────────────── writes
      close()              ──── end of file ──────────────> ends what is left, then itself

It starts as a fresh interpreter that does not import the user's script. So threads of the main
process are no danger, and nothing is imported twice. However the main process ends, the server sees
the end of file. Only this module, _server.py and _fork.py know how processes are started.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import socket
import subprocess
from collections.abc import Sequence
from typing import Any, NamedTuple

from amltk.descriptors import NO_SIGPIPE, pipe, send_fds, socketpair
from amltk.preparation import child_command, collect, preparation
from amltk.program_service import ProgramService
from amltk_processes._fork import Fork
from amltk_processes._fork_lock import no_forks
from amltk_processes._server import BYE, EVENT, MEMORY, START, STARTED
from amltk_processes._stderr import last_lines

# Seconds between the request to end (SIGTERM) and force (SIGKILL).
GRACE = 2.0
# Seconds after that until the server itself counts as stuck.
PATIENCE = 5.0


class WorkerEvent(NamedTuple):
    """An event that the server reports.

    Attributes:
        kind: STARTED and NOT_STARTED come in the order of the requests, EXITED at any time after STARTED.
        pid: The worker's process id.
        code: The worker's exit code, negative for a signal; the errno of a fork that failed.
        out_of_memory: Whether the kernel killed the worker because memory ran out; None if that is unknown.
        stderr_tail: The last lines that the worker, or what it started, wrote to stderr.
    """

    kind: int
    pid: int
    code: int
    out_of_memory: bool | None
    stderr_tail: str


class ForkServer:
    """The fork server of one pool: starts workers and reports their exits.

    Attributes:
        service: Answers requests of workers to the main process.
        command: The command that started the server; empty if it is a fork.
        has_started: Whether the server has started a worker.
        preparation: The data to send to a worker before anything else; empty if workers are forks.
    """

    def __init__(self, start_method: str, *, preload: Sequence[str] = (), **more: Any) -> None:
        """Start the server, without waiting for it.

        Args:
            start_method: `forkserver`: workers are forks of the server, a fresh interpreter. `spawn`: each
                worker is a fresh interpreter. `fork`: the server is a fork of this process, as it is now,
                and workers are forks of that.
            preload: The modules that it imports before it forks.
            more: Other data for workers (see `amltk_processes._server.main`).

        Raises:
            OSError: The system starts no more processes, or the interpreter can't be found.
            RuntimeError: There is no interpreter.
        """
        self.command = command = [] if start_method == "fork" else child_command("amltk_processes._server:main")
        fresh_workers = child_command("amltk_processes._server:be_fresh_worker") if start_method == "spawn" else []
        more |= {"grace": GRACE, "preload": list(preload), "command": fresh_workers}
        self.service = ProgramService()
        self.preparation = b""
        self._control, child_end = socketpair()
        for end in (self._control, child_end):  # explicitly: there may be a default timeout
            end.setblocking(True)
        parent_pipe, self._parent_pipe = pipe()
        # Above the standard descriptors: any of these may be closed, and the server opens those.
        given = child_end.fileno(), parent_pipe, self._parent_pipe, self.service.for_workers
        for_server = [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 3) for fd in given]
        child_end.close()
        os.close(parent_pipe)
        try:
            if command:
                # A session of its own, so that Ctrl-C reaches only the main process, which decides what to end.
                self._process: subprocess.Popen[bytes] | Fork = subprocess.Popen(
                    [*command, *map(str, for_server)],
                    stdin=subprocess.DEVNULL,
                    pass_fds=for_server,
                    start_new_session=True,
                )
            else:
                self._process = Fork(
                    {**collect(), **more}, for_server[0], (for_server[1], for_server[2]), for_server[3]
                )
        except BaseException:
            self._close()
            raise
        finally:
            for fd in for_server:
                os.close(fd)
        self._received = b""
        self.has_started = False
        self._importing = bool(preload) and not fresh_workers
        if command:
            data = preparation(**more)
            if fresh_workers:
                self.preparation = data
            with contextlib.suppress(ConnectionError):  # it is gone; `read_events` will tell
                self._control.sendall(data, NO_SIGPIPE)

    @property
    def exit_code(self) -> int | None:
        """The server's exit code, after `close`."""
        return self._process.returncode

    @property
    def pid(self) -> int:
        """The server's process id."""
        return self._process.pid

    def fileno(self) -> int:
        """Return the descriptor that becomes readable when there are events."""
        return self._control.fileno()

    def start_worker(self, connection: socket.socket, tokens: int) -> None:
        """Request a worker with these two descriptors (see `work`); the caller may close them afterwards."""
        with contextlib.suppress(ConnectionError):  # it is gone; `read_events` will tell
            send_fds(self._control, START, [connection.fileno(), tokens])

    def read_events(self) -> list[WorkerEvent] | None:
        """Wait for events, and return those that are there; None when the server is gone."""
        try:
            received = self._control.recv(1 << 16)
        except ConnectionError:
            return None
        if not received:
            return None
        self._importing = False
        data = self._received + received
        events = []
        while len(data) >= EVENT.size:
            kind, pid, code, memory, length = EVENT.unpack_from(data)
            end = EVENT.size + length
            if len(data) < end:
                break
            events.append(WorkerEvent(kind, pid, code, MEMORY[memory], last_lines(data[EVENT.size : end])))
            self.has_started |= kind == STARTED
            data = data[end:]
        self._received = data
        return events

    def close(self, *, now: bool) -> None:
        """End the server, its workers, and what these have started; wait until everything is gone.

        Args:
            now: End them at once. Otherwise workers get `GRACE` seconds to exit by themselves.
        """
        self.service.stop()
        if now and self._importing:  # this may take long, and the server reads nothing meanwhile
            self._end_tree()
        with contextlib.suppress(ConnectionError):
            if not now:
                self._control.send(BYE, NO_SIGPIPE)
            self._control.shutdown(socket.SHUT_WR)
        self._control.settimeout(GRACE * (1 if now else 2) + PATIENCE)
        try:
            while self.read_events() is not None:
                pass
        except TimeoutError:  # it was stopped, say
            self._end_tree()
        self._process.wait()
        self._close()

    def is_stopped(self) -> bool:
        """Whether the server is stopped, by SIGSTOP or a debugger."""
        import psutil  # loaded already, with `amltk.remote.process_tree`

        with contextlib.suppress(OSError, psutil.Error):
            return psutil.Process(self.pid).status() in {psutil.STATUS_STOPPED, psutil.STATUS_TRACING_STOP}
        return False

    def kill(self) -> None:
        """Kill the server, even if it is stopped; workers stay."""
        with contextlib.suppress(OSError):
            os.kill(self.pid, signal.SIGKILL)

    def _end_tree(self) -> None:
        from amltk.remote.process_tree import end_process_trees

        end_process_trees([self.pid], 0)

    def forget(self) -> None:
        """Close this process's descriptors only: it is a fork, and the server is its parent's."""
        self._close()
        self._process.returncode = 0

    def _close(self) -> None:
        with no_forks():
            self.service.close()
            self._control.close()
            if self._parent_pipe >= 0:
                os.close(self._parent_pipe)
                self._parent_pipe = -1
