"""What workers of the fault suite run. Needs nothing but the standard library: they import it."""

from __future__ import annotations

import asyncio
import ctypes
import logging
import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from pathlib import Path
from typing import Any

PATIENCE = 60


def healthy(x: int) -> int:
    return x + 1


def double(x: int) -> int:
    time.sleep(0.02)
    return 2 * x


def note_pid(folder: Path) -> None:
    """Write down in which process this is; whole, or not at all."""
    part = folder / f"part-{uuid.uuid4().hex}"
    part.write_text(str(os.getpid()), encoding="utf-8")
    part.rename(folder / "pid")


def die(folder: Path, number: int) -> None:
    note_pid(folder)
    os.kill(os.getpid(), number)
    time.sleep(PATIENCE)


def crash(folder: Path) -> None:
    note_pid(folder)
    ctypes.string_at(0)


def leave(folder: Path, code: int) -> None:
    note_pid(folder)
    os._exit(code)


def stand_still(folder: Path) -> str:
    note_pid(folder)
    os.kill(os.getpid(), signal.SIGSTOP)
    return "late"


def fail_to_initialize() -> None:
    msg = "the workers cannot begin"
    raise LookupError(msg)


def wait_for(gate: Path, began: Path) -> str:
    """Say that the call began, and wait for the gate; raise if it says "fail"."""
    began.touch()
    end = time.monotonic() + PATIENCE
    while not gate.exists() and time.monotonic() < end:
        time.sleep(0.002)
    if gate.read_text(encoding="utf-8") == "fail":
        msg = "told to fail"
        raise ValueError(msg)
    return "told to return"


def ignore_sigterm(folder: Path) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    note_pid(folder)
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        time.sleep(0.1)


FAMILY = """
import os, subprocess, sys, time
folder, generation = sys.argv[1], int(sys.argv[2])
if generation:
    child = subprocess.Popen([sys.executable, "-c", sys.argv[3], folder, str(generation - 1), sys.argv[3]])
open(f"{folder}/of-{os.getpid()}", "x").close()
time.sleep(60)
"""


def have_family(folder: Path) -> None:
    """Have a child, a grandchild and one more, and note them."""
    with subprocess.Popen([sys.executable, "-c", FAMILY, str(folder), "2", FAMILY]):
        (folder / f"of-{os.getpid()}").touch()
        time.sleep(PATIENCE)


def log_something(x: int) -> int:
    logging.getLogger("fault_calls").debug("log %d", x)
    return x


class HoldsLock:
    def __init__(self) -> None:
        self.lock = threading.Lock()


class FailsToPickle:
    def __reduce__(self) -> Any:
        msg = "not with me"
        raise LookupError(msg)


class FailsToUnpickle:
    def __reduce__(self) -> Any:
        return fail_to_unpickle, ()


def fail_to_unpickle() -> None:
    msg = "not in this process"
    raise LookupError(msg)


def take(*args: object, **kwargs: object) -> int:
    return len(args) + len(kwargs)


def echo(**kwargs: object) -> dict[str, object]:
    return kwargs


def give_lock() -> Any:
    return {"model": [threading.Lock()]}


def give_bytes(size: int) -> bytes:
    return bytes(size)


class OwnInit(Exception):  # noqa: N818 - short
    def __init__(self, *, code: int, where: str) -> None:
        super().__init__(f"code {code} at {where}")
        self.code = code


def fail_with_own_init() -> None:
    raise OwnInit(code=7, where="home")


def fail_with_lock() -> None:
    error = ValueError("it holds a lock")
    error.lock = threading.Lock()  # type: ignore[attr-defined]
    raise error


def fail_deep(x: int) -> None:
    def deeper() -> None:
        msg = f"x is {x}"
        raise ValueError(msg)

    deeper()


def fail_with_all() -> None:
    group = ExceptionGroup("two of them", [KeyError("first"), OwnInit(code=2, where="group")])
    group.add_note("a note of the call")
    raise group from LookupError("the cause")


def fail_with(name: str) -> None:
    kinds = {"SystemExit": SystemExit, "KeyboardInterrupt": KeyboardInterrupt, "CancelledError": asyncio.CancelledError}
    raise kinds[name](3)


def recurse(n: int) -> int:
    return recurse(n + 1) + 1


def want_too_much_memory() -> int:
    return len(bytes(1 << 62))


def token(*_: object, **__: object) -> str:
    return uuid.uuid4().hex
