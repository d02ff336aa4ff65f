"""The start method `fork`: the fork server is a fork of the main process, so its workers have that memory.

The first submitted call makes the fork, in the caller's thread, before the pool has a thread of its own. The fork keeps
only memory: descriptors, signal handlers and exit functions are released.
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
    """The fork server as its parent sees it: the part of `subprocess.Popen` that `ForkServer` needs.

    Attributes:
        pid: Its process id.
        returncode: Its exit code, after `wait`.
    """

    def __init__(self, data: Preparation, control: int, parent_pipe: tuple[int, int], service: int) -> None:
        """Fork; in the fork, be the server, and never return.

        Args:
            data: As for `amltk_processes._server.main`.
            control: The server's end of the control socket.
            parent_pipe: Both ends of the pipe.
            service: As for `main`.

        Raises:
            OSError: The system starts no more processes.
        """
        for stream in (sys.stdout, sys.stderr):  # or else both processes would write what is buffered
            with contextlib.suppress(Exception):
                stream.flush()
        # The server needs this at its end. If a thread of another pool were importing it during the fork, the import
        # lock would stay held in the fork.
        import amltk.remote.process_tree  # noqa: F401

        self.returncode: int | None = None
        self.pid = fork()
        if self.pid == 0:
            _serve(data, control, parent_pipe, service)

    def wait(self) -> None:
        """Wait for its exit."""
        if self.returncode is None:
            try:
                _, status = os.waitpid(self.pid, 0)
            except ChildProcessError:  # other code has waited for all children
                self.returncode = 0
            else:
                self.returncode = os.waitstatus_to_exitcode(status)


def _serve(data: Preparation, control: int, parent_pipe: tuple[int, int], service: int) -> None:
    code = 1
    # The caller's code must not continue here, whatever happens.
    try:
        _leave_behind(keep={control, *parent_pipe, service, 1, 2})
        have_standard_descriptors()
        sys.path[:] = data["path"]
        prepare(data)
        import_all(data["preload"])
        gc.freeze()  # memory that no collection touches stays shared with the main process
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
    """Release what belongs to the main process."""
    os.setsid()  # Ctrl-C does not reach another session
    signal.set_wakeup_fd(-1)
    for number in signal.valid_signals():
        if callable(signal.getsignal(number)):
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    atexit._clear()
    threading._threading_atexits = []  # type: ignore[attr-defined]
    # Replaced, not closed: an object that still has a closed descriptor might later close another file of that number.
    nowhere = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    for fd in {int(name) for name in os.listdir("/dev/fd")} - keep - {nowhere}:  # noqa: PTH208 - there may be many
        with contextlib.suppress(OSError):  # the descriptor that read the folder
            os.fstat(fd)
            os.dup2(nowhere, fd, inheritable=fd == 0)
    sys.stdin = open(os.devnull)  # noqa: PTH123, SIM115 - its buffer belongs to the main process
