"""The fork server's own side: starts workers, passes their stderr on, and reports how they exited."""

from __future__ import annotations

import atexit
import contextlib
import errno
import faulthandler
import fcntl
import gc
import importlib
import itertools
import os
import select
import signal
import socket
import struct
import sys
import threading
import time
from collections.abc import Iterable, Sequence

from amltk.descriptors import NO_SIGPIPE
from amltk.forks import fork
from amltk.preparation import Preparation, become_child, prepare
from amltk.remote.worker_exit import OomKills
from amltk_processes._stderr import Outlet, Stream
from amltk_processes._worker import work

TYPE_CHECKING = False  # the first worker's start would wait for `typing` to be imported
if TYPE_CHECKING:
    from typing import NoReturn

START, BYE = b"s", b"b"
STARTED, NOT_STARTED, EXITED = range(3)
# Kind, pid, exit code, whether memory ran out, length of the worker's last stderr output, which follows.
EVENT = struct.Struct("<BiiBI")
MEMORY = (None, False, True)
_CLOEXEC: int = getattr(socket, "MSG_CMSG_CLOEXEC", 0)
_DESCRIPTORS = 2  # in each request for a worker


def main(data: Preparation, control: int, parent_pipe: int, parent_pipe_write: int, service: int) -> None:
    """Run the fork server, and in its forks a worker.

    Args:
        data: From the main process: the preparation of `amltk.preparation`; `grace`, the seconds between SIGTERM and
            SIGKILL; `command`, the program to execute as a worker with the arguments of `be_fresh_worker`, empty if
            workers are forks; `levels`, see `work`; and `preload`, the modules to import.
        control: The server's end of the control socket.
        parent_pipe: The reading end of a pipe that is open while the main process or the server lives.
        parent_pipe_write: Its writing end.
        service: See `ProgramService.for_workers`.
    """
    signal.pthread_sigmask(signal.SIG_SETMASK, ())  # the thread that started us may have blocked some
    have_standard_descriptors()
    prepare(data)
    if not data["command"]:
        import_all(data["preload"])
    gc.freeze()  # so that garbage collections of workers do not touch, and so copy, what is here now
    # A worker returns from `serve` first, so it does not keep the server's stack.
    worker = Server(data, control, (parent_pipe, parent_pipe_write), service).serve()
    if worker is None:
        os._exit(0)  # there is nothing to clean up, and the main process waits
    be_worker(data, *worker)


def have_standard_descriptors() -> None:
    """Open closed standard descriptors, or else another file of the server could become the stderr of all workers."""
    while (spare := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(spare, True)
    os.close(spare)


def import_all(modules: Iterable[str]) -> None:
    """Import modules for later forks; the first call of each worker reports what fails."""
    for name in modules:
        with contextlib.suppress(BaseException):
            importlib.import_module(name)


def be_fresh_worker(
    data: Preparation, connection: int, tokens: int, parent_pipe: int, service: int, number: int
) -> NoReturn:
    """Run a worker in a fresh interpreter."""
    prepare(data)
    be_worker(data, connection, tokens, parent_pipe, service, number)


def be_worker(data: Preparation, connection: int, tokens: int, parent_pipe: int, service: int, number: int) -> NoReturn:
    """Run a worker until the main process closes its connection.

    No process ever writes to `parent_pipe`. When both the main process and the fork server are gone, no process can,
    and the kernel kills this process and its process group, whatever they do.
    """
    for fd in (connection, tokens, parent_pipe, service):
        os.set_inheritable(fd, False)
    faulthandler.enable(2, all_threads=False)
    with contextlib.suppress(OSError, AttributeError):  # only Linux can do this
        # The kernel keeps the process to signal with the open file, so open a file of our own.
        ours = os.open(f"/proc/self/fd/{parent_pipe}", os.O_RDONLY | os.O_NONBLOCK)
        fcntl.fcntl(ours, fcntl.F_SETOWN, -os.getpgrp())
        fcntl.fcntl(ours, fcntl.F_SETSIG, signal.SIGKILL)
        fcntl.fcntl(ours, fcntl.F_SETFL, os.O_ASYNC | os.O_NONBLOCK)
        with contextlib.suppress(BlockingIOError):  # then a parent lives
            os.read(ours, 1)
            os._exit(1)
    os.close(parent_pipe)
    become_child(data, number, service)
    work(_blocking(connection), tokens, data["levels"])
    end_worker()


def _blocking(descriptor: int) -> socket.socket:
    connection = socket.socket(fileno=descriptor)
    connection.setblocking(True)  # explicitly: a fork has the main process's default timeout
    return connection


def end_worker() -> NoReturn:
    """End as any program does, exit functions included, but without taking the interpreter apart.

    That would touch all memory that is shared with the server, and take ten times as long as the rest.
    """
    try:
        threading._shutdown()  # type: ignore[attr-defined] # waits for the threads that calls have left
        atexit._run_exitfuncs()
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(Exception):  # the user may have closed or replaced it
                stream.flush()
    finally:
        os._exit(0)


class Server:
    """Starts workers and waits for them. It has one thread, which never blocks on another process."""

    def __init__(self, data: Preparation, control: int, parent_pipe: tuple[int, int], service: int) -> None:
        """Install signal handlers and take over stderr; see `main`."""
        self._control = _blocking(control)
        self._parent_pipe = parent_pipe
        self._service = service
        self._grace: float = data["grace"]
        self._command: Sequence[str] = data["command"]
        self._numbers = itertools.count(1)
        for fd in (control, *parent_pipe, service):
            os.set_inheritable(fd, False)
        self._workers: dict[int, Stream] = {}
        # Of all workers, including exited ones while a process that they started may write.
        self._streams: list[Stream] = []
        self._outlet = Outlet()
        self._memory_kills = OomKills()
        # Exited workers by pid, which is their group's id too, and when SIGKILL is due for what they left.
        self._orphaned: dict[int, float] = {}
        self._wake_read, self._wake_write = os.pipe()
        os.set_blocking(self._wake_write, False)
        signal.set_wakeup_fd(self._wake_write, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        # In a fork, it is the program's. Ignored here, because the reader of our stderr may be gone.
        self._on_sigpipe = signal.signal(signal.SIGPIPE, signal.SIG_IGN)

    def serve(self) -> tuple[int, int, int, int, int] | None:
        """Serve requests until the main process closes the socket; in a worker, return the arguments of `be_worker`."""
        grace_for_workers = 0.0
        while True:
            if not self._await(None):
                continue
            try:
                request, descriptors, _, _ = socket.recv_fds(self._control, 1, 2, _CLOEXEC)
            except ConnectionError:
                request = b""
            if not request:
                break
            if request == BYE:
                grace_for_workers = self._grace
            elif self._start(descriptors, number := next(self._numbers)):
                connection, tokens = descriptors
                return connection, tokens, self._parent_pipe[0], self._service, number
        until = time.monotonic() + grace_for_workers
        while (self._workers or self._orphaned) and (left := until - time.monotonic()) > 0:
            self._await(left, requests=False)
        if self._workers or self._orphaned:
            from amltk.remote.process_tree import end_process_trees

            end_process_trees(self._workers.keys() | self._orphaned.keys(), self._grace)
        for stream in self._streams:
            self._pass_on(stream)
        self._outlet.drain(self._grace)
        self._control.close()
        return None

    def _await(self, timeout: float | None, *, requests: bool = True) -> bool:
        """Wait for an event and handle it; return whether there is a request, which the caller handles."""
        poll = select.poll()
        poll.register(self._wake_read, select.POLLIN)
        if requests:
            poll.register(self._control, select.POLLIN)
        if self._outlet.waiting:
            poll.register(self._outlet, select.POLLOUT)
        streams = {} if self._outlet.full else {stream.fileno(): stream for stream in self._streams}
        for fd in streams:
            poll.register(fd, select.POLLIN)
        if self._orphaned:
            timeout = 0.02
        ready = {fd for fd, _ in poll.poll(None if timeout is None else timeout * 1000)}
        if self._outlet.waiting:
            self._outlet.flush()
        for fd in ready & streams.keys():
            self._outlet.write(streams[fd].read())
        if self._wake_read in ready:
            os.read(self._wake_read, 1 << 12)
            self._reap_workers()
        self._end_orphans()
        self._streams = [stream for stream in self._streams if stream.open]
        return requests and self._control.fileno() in ready

    def _start(self, descriptors: list[int], number: int) -> bool:
        """Start a worker; return True in the fork."""
        try:
            if len(descriptors) < _DESCRIPTORS:  # this process has reached its limit of descriptors
                raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))  # noqa: TRY301 - as below
            stream = Stream()
            try:
                pid = fork()
            except OSError:
                stream.close()
                raise
        except OSError as error:
            self._report(NOT_STARTED, 0, error.errno or 0)
            pid = -1
        if pid == 0:
            self._become_worker(stream, descriptors, number)
            return True
        for fd in descriptors:
            os.close(fd)
        if pid > 0:
            stream.hand_over()
            self._streams.append(stream)
            self._workers[pid] = stream
            self._report(STARTED, pid, 0)
        return False

    def _become_worker(self, stream: Stream, descriptors: Iterable[int], number: int) -> None:
        os.setsid()  # a process group of its own, and no Ctrl-C from the terminal
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        if self._on_sigpipe is not None:  # None: not installed by Python
            signal.signal(signal.SIGPIPE, self._on_sigpipe)
        stream.take_over()
        for other in self._streams:
            other.close()
        self._outlet.close()
        for fd in (self._wake_read, self._wake_write, self._parent_pipe[1]):
            os.close(fd)
        self._control.close()
        if self._command:
            given = (*descriptors, self._parent_pipe[0], self._service)
            for fd in given:
                os.set_inheritable(fd, True)
            os.execv(self._command[0], [*self._command, *map(str, given), str(number)])

    def _report(self, kind: int, pid: int, code: int, memory: bool | None = None, stderr: bytes = b"") -> None:
        with contextlib.suppress(ConnectionError):  # the end of file comes next
            event = EVENT.pack(kind, pid, code, MEMORY.index(memory), len(stderr))
            self._control.sendall(event + stderr, NO_SIGPIPE)

    def _reap_workers(self) -> None:
        # WNOWAIT first: until the worker is reaped, no other process or group can get its id.
        options = os.WEXITED | os.WNOHANG | os.WNOWAIT
        while self._workers and (dead := os.waitid(os.P_ALL, 0, options)):
            self._signal_group(dead.si_pid, signal.SIGTERM)
            _, status = os.waitpid(dead.si_pid, 0)
            code = os.waitstatus_to_exitcode(status)
            stream = self._workers.pop(dead.si_pid)
            self._orphaned[dead.si_pid] = time.monotonic() + self._grace
            self._pass_on(stream)
            memory = self._memory_kills.recent() if code == -signal.SIGKILL else False
            self._report(EXITED, dead.si_pid, code, memory, stream.kept)

    def _pass_on(self, stream: Stream) -> None:
        # Several times, because the last lines matter and a pipe holds more than one read returns. Not for ever,
        # because a process that the worker left behind may go on writing.
        for _ in range(16):
            data = stream.read() if stream.open else b""
            if not data:
                return
            self._outlet.write(data)

    def _end_orphans(self) -> None:
        for group, force_due in list(self._orphaned.items()):
            late = time.monotonic() - force_due
            # Even after SIGKILL a group takes a moment to go, or stays where no init process reaps orphans.
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
