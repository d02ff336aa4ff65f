"""A small process beside each worker of a local cluster; Ray starts it in the worker's place.

    raylet ── starts ──> nanny ── starts ──> worker, which leads a session

Ray does not tell how a worker died, since it is the only one that could know, and does not look. The nanny does, and
ends what the worker's calls have left running. It imports nothing of Ray's.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys

ENDS = "ends"
"""The folder in which there is a file for each worker that has ended: named as its pid, it has the exit code."""

_SET_PARENT_DEATH_SIGNAL = 1


def main(home: str, *command: str) -> int:
    """Start a worker, stay with it, and note how it ended.

    Args:
        home: Of the cluster.
        command: What else than the interpreter makes up the worker's command.

    Returns:
        The worker's exit code, as a shell would have it.
    """
    parent = os.getpid()
    pid = os.fork()
    if pid == 0:
        _be_worker(parent, command)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)  # not reaped yet, so nobody else has its number
    _, status = os.waitpid(pid, 0)
    code = os.waitstatus_to_exitcode(status)
    with contextlib.suppress(OSError):  # the cluster is being ended, its home is gone
        part = f"{home}/{ENDS}/.{pid}"
        with open(part, "w", encoding="ascii") as file:  # noqa: PTH123 - pathlib takes long to import
            file.write(str(code))
        os.rename(part, f"{home}/{ENDS}/{pid}")  # noqa: PTH104 - likewise
    return code if code >= 0 else 128 - code


def die_with_parent() -> None:
    """Have the kernel kill this process when the one that started it is gone."""
    import ctypes

    ctypes.CDLL(None).prctl(_SET_PARENT_DEATH_SIGNAL, signal.SIGKILL)


def _be_worker(parent: int, command: tuple[str, ...]) -> None:
    try:
        os.setsid()  # so that all that calls start can be found
        die_with_parent()
        if os.getppid() == parent:
            os.execv(sys.executable, [sys.executable, *command])
    finally:
        os._exit(127)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
