"""What workers ask the program for when a call needs it: its resource tracker, and what `multiprocessing` knows.

`multiprocessing.resource_tracker` is a process that knows what shared memory there is, and unlinks what is left of it
when its program has ended. A worker with a tracker of its own would take the program's memory with it when it ends.
Children of `multiprocessing` inherit a pipe to the program's tracker. For that the program has to start it, for each
pool, used or not. Here, it is started when a worker needs it first:

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

TYPE_CHECKING = False  # each start of a worker would wait for `typing` to be imported
if TYPE_CHECKING:
    from typing import Any

_TRACKER, _MULTIPROCESSING = b"t", b"m"
_MOST = 1 << 12  # bytes of an answer
_CLOEXEC: int = getattr(socket, "MSG_CMSG_CLOEXEC", 0)


class ProgramService:
    """The program's side. Whoever has it waits until it can be read from, and calls `answer` then.

    Attributes:
        for_workers: A descriptor that workers inherit. It can be read from when the program has ended.
    """

    def __init__(self) -> None:
        """Start nothing."""
        self._requests, self._theirs = socketpair()
        self._requests.setblocking(False)
        self.for_workers = self._theirs.fileno()

    def fileno(self) -> int:
        """Return what becomes readable when a worker asks."""
        return self._requests.fileno()

    def answer(self) -> None:
        """Answer all workers that have asked, without waiting for them."""
        with contextlib.suppress(OSError):  # nobody asks
            while (asked := socket.recv_fds(self._requests, 1, 1, _CLOEXEC))[1]:
                with socket.socket(fileno=asked[1][0]) as worker, contextlib.suppress(Exception):
                    _answer(worker, asked[0])

    def stop(self) -> None:
        """Answer no more: a worker that asks from now on does without."""
        with contextlib.suppress(OSError):
            self._requests.shutdown(socket.SHUT_RD)
        self.answer()

    def close(self) -> None:
        """Close both ends."""
        self._requests.close()
        self._theirs.close()


def _answer(worker: socket.socket, request: bytes) -> None:
    if request == _TRACKER:
        from multiprocessing import resource_tracker

        fd: Any = resource_tracker.getfd()
        send_fds(worker, request, [fd])
    else:
        worker.sendall(marshal.dumps(of_multiprocessing()), NO_SIGPIPE)


def _ask(service: int, request: bytes) -> tuple[bytes, list[int]]:
    """Return the answer, and the descriptors that come with it; nothing if there is no answer any more."""
    ours, theirs = socketpair()
    with ours, contextlib.suppress(OSError):
        ours.setblocking(True)
        with theirs, socket.socket(fileno=os.dup(service)) as program:
            program.setblocking(True)
            send_fds(program, request, [theirs.fileno()])
        data, fds, _, _ = socket.recv_fds(ours, _MOST, 1, _CLOEXEC)
        return data, fds
    return b"", []


def of_multiprocessing() -> tuple[str, bytes, str | None]:
    """Return what `multiprocessing` knows of this process: its name, its key, and the start method that was set."""
    from multiprocessing import get_start_method
    from multiprocessing.process import current_process

    process = current_process()
    return str.__str__(process.name), bytes(process.authkey), get_start_method(allow_none=True)


def ask_of_multiprocessing(service: int) -> tuple[str, bytes, str | None] | None:
    """Return what `multiprocessing` knows of the program (see `of_multiprocessing`); None if it is over.

    Args:
        service: The descriptor `ProgramService.for_workers`.
    """
    data, _ = _ask(service, _MULTIPROCESSING)
    return marshal.loads(data) if data else None  # noqa: S302 - it comes from our own program


def use_tracker_of_program(module: Any, service: int) -> None:
    """Have this process, a worker, use the program's tracker as soon as it needs one.

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
    tracker._fd = tracker._pid = None  # those of the parent, in a fork
