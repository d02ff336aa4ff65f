"""A small process that starts a local cluster, and ends it with all descendants.

    main process                     guard                          Ray
    starts it ─────────────────────> leads a session, starts ─────> ray start --head --block
    ends, or dies ── end of stdin ─> kills all descendants,
                                     removes the cluster's folder

A process that a call started, and that left its parent and its session, is still a descendant of the guard: the kernel
makes the guard the parent of orphans. The guard does not import Ray, so no fault of Ray can harm it. If the guard
itself is killed, the kernel sends SIGKILL to Ray's processes.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import shutil
import signal
import subprocess
import sys
import time

LOG = "ray-start.log"
"""The file with the output of `ray start`, in the cluster's folder."""

_SET_CHILD_SUBREAPER = 36
_SET_PARENT_DEATH_SIGNAL = 1
_LAST_WORDS = 4000


def main(home: str, *command: str) -> None:
    """Start a cluster, wait until the main process releases it or it ends by itself, and clean up.

    Args:
        home: The cluster's folder, which is removed.
        command: The command that starts the cluster, and runs as long as it.
    """
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    libc = ctypes.CDLL(None)
    libc.prctl(_SET_CHILD_SUBREAPER, 1)
    awake, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(wake)

    def be_head() -> None:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_DFL)
        libc.prctl(_SET_PARENT_DEATH_SIGNAL, signal.SIGKILL)

    with open(f"{home}/{LOG}", "wb") as log:  # noqa: PTH123 - pathlib takes long to import
        null = subprocess.DEVNULL
        head = subprocess.Popen(command, stdin=null, stdout=log, stderr=log, preexec_fn=be_head)  # noqa: PLW1509 - no threads here
    poll = select.poll()
    for pipe in (0, awake):
        poll.register(pipe, select.POLLIN)
    while head.poll() is None:
        ready = [pipe for pipe, _ in poll.poll()]
        if 0 in ready and not os.read(0, 1):
            break
        if awake in ready:
            os.read(awake, 64)
            _end_others(head.pid)
    else:
        _send_log(home)
    _end_descendants()
    shutil.rmtree(home, ignore_errors=True)


def _send_log(home: str) -> None:
    """Send the end of Ray's output to the main process, which reads it if the cluster did not start."""
    with contextlib.suppress(OSError):
        with open(f"{home}/{LOG}", "rb") as log:  # noqa: PTH123 - likewise
            tail = log.read()[-_LAST_WORDS:]
        os.write(1, tail)


def _end_others(head: int) -> None:
    """Reap orphans that have ended."""
    for pid in _children_of({os.getpid()}):
        if pid != head:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)


def _end_descendants() -> None:
    while True:
        family, found = {os.getpid()}, {os.getpid()}
        while found:
            found = _children_of(found) - family
            family |= found
        for pid in family - {os.getpid()}:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        try:
            while os.waitpid(-1, os.WNOHANG) != (0, 0):
                pass
        except ChildProcessError:
            return
        time.sleep(0.01)


def _children_of(parents: set[int]) -> set[int]:
    children = set()
    for name in os.listdir("/proc"):  # noqa: PTH208 - likewise
        if name.isdigit():
            with contextlib.suppress(OSError), open(f"/proc/{name}/stat", "rb") as file:  # noqa: PTH123 - likewise
                if int(file.read().rpartition(b")")[2].split()[1]) in parents:
                    children.add(int(name))
    return children


if __name__ == "__main__":
    main(*sys.argv[1:])
