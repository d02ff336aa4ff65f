"""Answers requests of workers: for the program's resource tracker, and its name and key in `multiprocessing`.

`multiprocessing.resource_tracker` is a process that records shared memory, and unlinks the rest when its program has
ended. With a tracker of its own, a worker would unlink the program's memory at its end. Children of `multiprocessing`
inherit a pipe to the program's tracker, so the program has to start it for each pool, used or not. Here, it starts when
a worker first needs it:

    worker                                    program
    asks for it ── one end of a socket ────>  ProgramService.answer(): starts it, unless it runs
                <── the pipe to the tracker ──
"""

from __future__ import annotations

import contextlib
import marshal
import os
import socket

from amltk.descriptors import NO_SIGPIPE, send_fds, socketpair

TYPE_CHECKING = False  # importing `typing` would slow down each start of a worker
if TYPE_CHECKING:
    from typing import Any

_TRACKER, _MULTIPROCESSING = b"t", b"m"
_MOST = 1 << 12  # bytes of an answer
_CLOEXEC: int = getattr(socket, "MSG_CMSG_CLOEXEC", 0)


class ProgramService:
    """The program's side. Its owner waits until the descriptor is readable, and then calls `answer`.

    Attributes:
        for_workers: A descriptor that workers inherit. It becomes readable when the program has ended.
    """

    def __init__(self) -> None:
        """Open the sockets; nothing starts."""
        self._requests, self._worker_end = socketpair()
        self._requests.setblocking(False)
        self.for_workers = self._worker_end.fileno()

    def fileno(self) -> int:
        """Return the descriptor that becomes readable when a worker sends a request."""
        return self._requests.fileno()

    def answer(self) -> None:
        """Answer all pending requests, without waiting for more."""
        with contextlib.suppress(OSError):  # no request is pending
            while (asked := socket.recv_fds(self._requests, 1, 1, _CLOEXEC))[1]:
                with socket.socket(fileno=asked[1][0]) as worker, contextlib.suppress(Exception):
                    _answer(worker, asked[0])

    def stop(self) -> None:
        """Answer no more requests: workers that send one from now on get no descriptor."""
        with contextlib.suppress(OSError):
            self._requests.shutdown(socket.SHUT_RD)
        self.answer()

    def close(self) -> None:
        """Close both ends."""
        self._requests.close()
        self._worker_end.close()


def _answer(worker: socket.socket, request: bytes) -> None:
    if request == _TRACKER:
        from multiprocessing import resource_tracker

        fd: Any = resource_tracker.getfd()
        send_fds(worker, request, [fd])
    else:
        worker.sendall(marshal.dumps(of_multiprocessing()), NO_SIGPIPE)


def _ask(service: int, request: bytes) -> tuple[bytes, list[int]]:
    """Return the answer and its descriptors; both are empty if the program has ended."""
    own_end, program_end = socketpair()
    with own_end, contextlib.suppress(OSError):
        own_end.setblocking(True)
        with program_end, socket.socket(fileno=os.dup(service)) as program:
            program.setblocking(True)
            send_fds(program, request, [program_end.fileno()])
        data, fds, _, _ = socket.recv_fds(own_end, _MOST, 1, _CLOEXEC)
        return data, fds
    return b"", []


def of_multiprocessing() -> tuple[str, bytes, str | None]:
    """Return this process's name, key and start method in `multiprocessing`."""
    from multiprocessing import get_start_method
    from multiprocessing.process import current_process

    process = current_process()
    return str.__str__(process.name), bytes(process.authkey), get_start_method(allow_none=True)


def ask_of_multiprocessing(service: int) -> tuple[str, bytes, str | None] | None:
    """Return the program's name, key and start method in `multiprocessing`; None if the program has ended.

    Args:
        service: The descriptor `ProgramService.for_workers`.
    """
    data, _ = _ask(service, _MULTIPROCESSING)
    return marshal.loads(data) if data else None  # noqa: S302 - it comes from our own program


def use_tracker_of_program(module: Any, service: int) -> None:
    """Make this process, a worker, use the program's tracker as soon as it needs one.

    Args:
        module: `multiprocessing.resource_tracker`.
        service: The descriptor `ProgramService.for_workers`.
    """

    class ProgramsTracker(module.ResourceTracker):  # type: ignore[misc]
        @property
        def _fd(self) -> int | None:
            fd: int | None = self.__dict__.get("_fd")
            if fd is None:
                for fd in _ask(service, _TRACKER)[1]:
                    os.set_inheritable(fd, False)
                    self.__dict__["_fd"] = fd
            return fd

        @_fd.setter
        def _fd(self, fd: int | None) -> None:
            self.__dict__["_fd"] = fd

    tracker = module._resource_tracker
    tracker.__class__ = ProgramsTracker
    tracker._fd = tracker._pid = None  # in a fork, these are the parent's
