"""The start method `fork`: the fork server is a fork of the main process, so its workers know what that knew.

It is made once, by the first call that is submitted and in that thread, before the pool has one of
its own. What the fork gets of the main process is memory, and no more: descriptors, signal handlers
and exit functions stay behind.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import os
import signal
import sys
import threading
import traceback

from amltk.forks import fork
from amltk.preparation import Preparation, prepare
from amltk_processes._server import Server, be_worker, have_standard_descriptors, import_all


class Fork:
    """The fork server, as far as its parent is concerned: the part of `subprocess.Popen` that it needs.

    Attributes:
        pid: Its process id.
        returncode: Its exit code, once it was waited for.
    """

    def __init__(self, data: Preparation, control: int, parent_pipe: tuple[int, int], service: int) -> None:
        """Fork; in the fork, be the server, and do not come back.

        Args:
            data: As for `amltk_processes._server.main`.
            control: The server's end of the control socket.
            parent_pipe: Both ends of its pipe.
            service: Likewise.

        Raises:
            OSError: The system starts no more processes.
        """
        for stream in (sys.stdout, sys.stderr):  # or else both of us would write what waits in them
            with contextlib.suppress(Exception):
                stream.flush()
        # The server needs it at its end. Were another pool's thread just importing it, its lock would stay held there.
        import amltk.remote.process_tree  # noqa: F401

        self.returncode: int | None = None
        self.pid = fork()
        if self.pid == 0:
            _serve(data, control, parent_pipe, service)

    def wait(self) -> None:
        """Wait for its end."""
        if self.returncode is None:
            try:
                _, status = os.waitpid(self.pid, 0)
            except ChildProcessError:  # somebody else waited for all children
                self.returncode = 0
            else:
                self.returncode = os.waitstatus_to_exitcode(status)


def _serve(data: Preparation, control: int, parent_pipe: tuple[int, int], service: int) -> None:
    code = 1
    # Nothing of what called us must go on here, whatever happens.
    try:
        _leave_behind(keep={control, *parent_pipe, service, 1, 2})
        have_standard_descriptors()
        sys.path[:] = data["path"]
        prepare(data)
        import_all(data["preload"])
        gc.freeze()  # memory that nobody looks at stays shared with the main process
        worker = Server(data, control, parent_pipe, service).serve()
        if worker is not None:
            be_worker(data, *worker)
        code = 0
    except BaseException:
        os.write(2, traceback.format_exc().encode(errors="replace"))  # `sys.stderr` may be anything
    finally:
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(BaseException):
                stream.flush()
        os._exit(code)


def _leave_behind(keep: set[int]) -> None:
    """Let go of what is the main process's own."""
    os.setsid()  # as an own session, which Ctrl-C does not reach
    signal.set_wakeup_fd(-1)
    for number in signal.valid_signals():
        if callable(signal.getsignal(number)):
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    atexit._clear()
    threading._threading_atexits = []  # type: ignore[attr-defined]
    # Not closed: an object that believes to have a descriptor would some day close what has its number then.
    nowhere = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    for fd in {int(name) for name in os.listdir("/dev/fd")} - keep - {nowhere}:  # noqa: PTH208 - there may be many
        with contextlib.suppress(OSError):  # the one by which we read the folder
            os.fstat(fd)
            os.dup2(nowhere, fd, inheritable=fd == 0)
    sys.stdin = open(os.devnull)  # noqa: PTH123, SIM115 - what it has read belongs to the main process
