"""The functions that the suites submit. Workers import this module: it needs the standard library alone.

A call may run in another process, so it reports its progress in files. Each wait in here ends by itself.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

PATIENCE = 60.0
"""After so many seconds a call that waits for a file gives up."""


def add(x: int, y: int = 1) -> int:
    """Return the sum."""
    return x + y


def echo(*args: Any, **kwargs: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return the arguments."""
    return args, kwargs


def where() -> tuple[str, int]:
    """Return the names of machine and process in which this is called."""
    return socket.gethostname(), os.getpid()


def wait(seconds: float) -> None:
    """Sleep."""
    time.sleep(seconds)


def token(*_: object) -> str:
    """Return something that no other call returns."""
    return uuid.uuid4().hex


def apply(value: Any, function: Callable[[Any], Any]) -> Any:
    """Return `function(value)`."""
    return function(value)


def raise_it(kind: type[BaseException], *args: Any) -> None:
    """Raise `kind(*args)`."""
    raise kind(*args)


class OwnInit(Exception):  # noqa: N818 - short
    """An exception that can't be made anew from its `args`, as pickle tries to."""

    def __init__(self, *, code: int) -> None:
        super().__init__(f"code {code}")
        self.code = code


def raise_own_init() -> None:
    """Raise an exception whose class wants other arguments than pickle passes."""
    raise OwnInit(code=7)


def raise_with_lock() -> None:
    """Raise an exception that holds what can't be pickled."""
    error = ValueError("it holds a lock")
    error.lock = threading.Lock()  # type: ignore[attr-defined]
    raise error


def raise_chained() -> None:
    """Raise an exception with a cause and a note."""
    error = ValueError("the error")
    error.add_note("a note")
    raise error from LookupError("the cause")


def unpicklable_result() -> Any:
    """Return what can't be pickled."""
    return threading.Lock()


class FailsToLoad:
    """Can be pickled, and fails when it is read."""

    def __reduce__(self) -> tuple[Any, ...]:
        return fail_to_load, ()


def fail_to_load() -> None:
    """Raise what reading a `FailsToLoad` raises."""
    msg = "cannot be read here"
    raise LookupError(msg)


def wait_for(gate: Path, began: Path | None = None) -> str:
    """Note that the call began, and wait for the file `gate`; return what the gate holds."""
    if began is not None:
        began.touch()
    end = time.monotonic() + PATIENCE
    while not gate.exists():
        if time.monotonic() > end or not gate.parent.exists():
            msg = f"nobody made {gate} within {PATIENCE:g} s, or its folder is gone"
            raise TimeoutError(msg)
        time.sleep(0.002)
    return gate.read_text(encoding="utf-8")


def obey(gate: Path, began: Path | None = None) -> str:
    """Wait for the gate, and raise if it says "fail"."""
    if wait_for(gate, began) == "fail":
        msg = "told to fail"
        raise ValueError(msg)
    return "told to return"


def tick(folder: Path, gate: Path) -> None:
    """Write to the file `ticks` until there is a `gate`."""
    end = time.monotonic() + PATIENCE
    with (folder / "ticks").open("a", encoding="utf-8") as file:
        while not gate.exists() and time.monotonic() < end:
            file.write(".")
            file.flush()
            time.sleep(0.005)


def have_a_child(folder: Path) -> None:
    """Start a process, write down its id in the file `child`, and wait for it."""
    code = f"import time; time.sleep({PATIENCE})"
    with subprocess.Popen([sys.executable, "-c", code]) as process:
        written = folder / "child.part"
        written.write_text(str(process.pid), encoding="utf-8")
        written.rename(folder / "child")


def die(folder: Path) -> None:
    """Leave a file of a name of its own, and kill the process that this is called in."""
    (folder / f"died-{uuid.uuid4().hex}").touch()
    os.kill(os.getpid(), signal.SIGKILL)
