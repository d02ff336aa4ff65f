"""A small process beside each worker of a local cluster; Ray starts it instead of the worker.

    raylet ── starts ──> nanny ── starts ──> worker, which leads a session

Ray does not report how a worker died: as its parent, only Ray could know, and it does not check. The nanny is the
parent instead. It records the exit code, and ends processes that the worker's calls have left. It does not import Ray.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys

ENDS = "ends"
"""The folder with a file for each worker that has ended: its name is the pid, its content the exit code."""

_SET_PARENT_DEATH_SIGNAL = 1


def main(home: str, *command: str) -> int:
    """Start a worker, wait for its end, and record how it ended.

    Args:
        home: The cluster's folder.
        command: The worker's command, without the interpreter.

    Returns:
        The worker's exit code, as a shell reports it.
    """
    parent = os.getpid()
    pid = os.fork()
    if pid == 0:
        _be_worker(parent, command)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)  # not reaped yet, so no other process has its number
    _, status = os.waitpid(pid, 0)
    code = os.waitstatus_to_exitcode(status)
    with contextlib.suppress(OSError):  # the cluster is ending, and its home is gone
        part = f"{home}/{ENDS}/.{pid}"
        with open(part, "w", encoding="ascii") as file:  # noqa: PTH123 - pathlib takes long to import
            file.write(str(code))
        os.rename(part, f"{home}/{ENDS}/{pid}")  # noqa: PTH104 - likewise
    return code if code >= 0 else 128 - code


def die_with_parent() -> None:
    """Have the kernel kill this process when its parent dies."""
    import ctypes

    ctypes.CDLL(None).prctl(_SET_PARENT_DEATH_SIGNAL, signal.SIGKILL)


def _be_worker(parent: int, command: tuple[str, ...]) -> None:
    try:
        os.setsid()  # so that every process that calls start can be found
        die_with_parent()
        if os.getppid() == parent:
            os.execv(sys.executable, [sys.executable, *command])
    finally:
        os._exit(127)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
