"""What the tests of `slurm` call in workers."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path


def where(*_: object) -> tuple[int, str]:
    return os.getpid(), str(Path.cwd())


def begin_and_wait(path: str, seconds: float = 60) -> str:
    Path(path).write_text(str(os.getpid()))
    time.sleep(seconds)
    return "done"


def begin_and_stand_still(path: str, late: str = "") -> str:
    Path(path).write_text(str(os.getpid()))
    os.kill(os.getpid(), signal.SIGSTOP)
    Path(late).touch()
    return "late"


def begin_and_exit(code: int) -> None:
    os._exit(code)
