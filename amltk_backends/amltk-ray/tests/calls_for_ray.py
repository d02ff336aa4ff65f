"""What workers run in these tests. They import it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

PATIENCE = 60


def note(folder: Path) -> int:
    """Leave a file that is named after this process; each call leaves another."""
    for n in range(1000):
        path = folder / f"{os.getpid()}-{n}"
        if not path.exists():
            path.touch()
            return os.getpid()
    raise AssertionError


def wait_for(gate: Path, folder: Path) -> int:
    note(folder)
    end = time.monotonic() + PATIENCE
    while not gate.exists() and time.monotonic() < end:
        time.sleep(0.002)
    return os.getpid()


def die(folder: Path) -> None:
    note(folder)
    os.kill(os.getpid(), signal.SIGKILL)


def leave_a_process(folder: Path, *, session: bool, then: str) -> int:
    """Leave a process behind, in a session of its own or not."""
    command = [sys.executable, "-c", f"import time; time.sleep({PATIENCE})"]
    pid = subprocess.Popen(command, start_new_session=session).pid
    (folder / "left.part").write_text(str(pid), encoding="ascii")
    (folder / "left.part").rename(folder / "left")
    if then == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    if then == "wait":
        time.sleep(PATIENCE)
    return pid


def eat() -> None:
    """Take more and more memory, slowly enough for somebody to notice."""
    hoard = []
    while True:
        hoard.append(b"x" * (20 << 20))
        time.sleep(0.02)


def options(**arguments: object) -> dict[str, object]:
    return arguments
