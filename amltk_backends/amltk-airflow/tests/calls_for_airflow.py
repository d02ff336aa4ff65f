"""What tests have called; pickled by value, since tasks can't import it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any


def add(x: int, y: int = 1) -> int:
    return x + y


def die(number: int) -> None:
    os.kill(os.getpid(), number)
    time.sleep(60)


def leave(code: int) -> None:
    sys.stderr.write("the last words\n")
    sys.stderr.flush()
    os._exit(code)


def wait_for(gate: Path, began: Path) -> str:
    began.write_text(str(os.getpid()), encoding="utf-8")
    end = time.monotonic() + 60
    while not gate.exists() and time.monotonic() < end:
        time.sleep(0.005)
    return "done"


def stay(began: Path) -> None:
    """Have a child, and ignore SIGTERM."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    part = began.with_suffix(".part")
    part.write_text(f"{os.getpid()} {child.pid}", encoding="utf-8")
    part.rename(began)
    time.sleep(60)


def leave_a_thread() -> str:
    threading.Thread(target=time.sleep, args=(60,)).start()
    return "returned"


def raise_with_lock() -> None:
    error = ValueError("it holds a lock")
    error.lock = threading.Lock()  # type: ignore[attr-defined]
    raise error


def return_lock() -> Any:
    return [threading.Lock()]


def keywords(**kwargs: Any) -> dict[str, Any]:
    return kwargs


def environment(name: str) -> str | None:
    return os.environ.get(name)


class LeavesAMark:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)
