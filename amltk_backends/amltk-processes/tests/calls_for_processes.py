"""What tests have workers do: importable there, for this folder is on their path."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import subprocess
import sys
import time
from pathlib import Path


def nothing(*_: object) -> None:
    pass


def add(x: int, y: int = 1) -> int:
    return x + y


def pid(*_: object) -> int:
    return os.getpid()


def log(text: str, *args: object, level: int = logging.INFO) -> int:
    logging.getLogger("lib.part").log(level, text, *args)
    return os.getpid()


def wait_for(gate: Path, name: str = "") -> int:
    """Leave a file, then wait for the gate to be there."""
    (gate.parent / f"began-{name or os.getpid()}").touch()
    while not gate.exists():
        time.sleep(0.002)
    return os.getpid()


def hang(folder: Path, deaf: bool = False) -> None:
    """Note the own process id, and never end."""
    if deaf:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    (folder / "pid").write_text(str(os.getpid()))
    (folder / "began").touch()
    time.sleep(600)


def family(folder: Path, deaf: bool = False) -> None:
    """Have a child, a grandchild, and a great-grandchild in a session of its own; write down their ids; never end."""
    if deaf:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    write = f"import os; open(os.path.join({str(folder)!r}, str(os.getpid())), 'w').close()"
    last = f"{write}; import time; time.sleep(600)"
    grand = f"{write}; import subprocess, sys; subprocess.run([sys.executable, '-c', {last!r}], start_new_session=True)"
    child = f"{write}; import subprocess, sys; subprocess.run([sys.executable, '-c', {grand!r}])"
    process = subprocess.Popen([sys.executable, "-c", child])
    (folder / str(os.getpid())).touch()
    with contextlib.suppress(BaseException):
        process.wait()
    time.sleep(600)


def leave_an_orphan(folder: Path, deaf: bool = True) -> None:
    """Start something, ignoring SIGTERM if `deaf`, and go without waiting for it."""
    orphan = "import os, signal, time" + "; signal.signal(signal.SIGTERM, signal.SIG_IGN)" * deaf
    orphan += f"; open(os.path.join({str(folder)!r}, str(os.getpid())), 'w').close(); time.sleep(600)"
    subprocess.Popen([sys.executable, "-c", orphan])
    while not list(folder.iterdir()):
        time.sleep(0.002)


class Unpicklable:
    """Cannot be read."""

    def __init__(self, where: str) -> None:
        self.where = where

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return fail_to_load, (self.where,)


def fail_to_load(where: str) -> object:
    raise LookupError(where)


class RaisesWhenPickled:
    def __reduce__(self) -> tuple[object, tuple[object]]:
        msg = "not me"
        raise ZeroDivisionError(msg)


class OwnInit(Exception):  # noqa: N818 - short
    def __init__(self, *, code: int) -> None:
        super().__init__(f"code {code}")
        self.code = code
