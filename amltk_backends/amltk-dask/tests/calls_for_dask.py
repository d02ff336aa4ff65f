"""What workers run in these tests. They import it."""

from __future__ import annotations

import multiprocessing
import os
import threading
import time
import uuid
from pathlib import Path
from typing import Any

PATIENCE = 60


def note(folder: Path) -> None:
    (folder / f"{os.getpid()}-{uuid.uuid4().hex}").touch()


def wait_for(gate: Path, folder: Path) -> int:
    note(folder)
    end = time.monotonic() + PATIENCE
    while not gate.exists() and time.monotonic() < end:
        time.sleep(0.002)
    return os.getpid()


def die(folder: Path) -> None:
    note(folder)
    os._exit(3)


def die_at_first(folder: Path) -> int:
    note(folder)
    if len(list(folder.iterdir())) == 1:
        os._exit(3)
    return os.getpid()


def eat(_: object) -> None:
    hoard = []
    while True:
        hoard.append(b"x" * (10 << 20))
        time.sleep(0.02)


def have_a_child() -> int | None:
    child = multiprocessing.get_context("fork").Process(target=os._exit, args=(5,))
    child.start()
    child.join()
    return child.exitcode


def where() -> tuple[int, bool]:
    return os.getpid(), threading.current_thread() is threading.main_thread()


def environment(name: str) -> str | None:
    return os.environ.get(name)


def echo(**kwargs: object) -> dict[str, object]:
    return kwargs


def compute_in_c(folder: Path) -> None:
    """Keep the interpreter's lock for a long time, without a chance for any thread."""
    note(folder)
    sum(range(10**11))


class FailsToUnpickle:
    """Except in the process that made it."""

    def __init__(self) -> None:
        self.pid = os.getpid()

    def __reduce__(self) -> Any:
        return unpickle, (self.pid,)


def unpickle(pid: int) -> int:
    if pid != os.getpid():
        msg = "not in this process"
        raise LookupError(msg)
    return pid


def give_what_fails_to_unpickle() -> FailsToUnpickle:
    return FailsToUnpickle()
