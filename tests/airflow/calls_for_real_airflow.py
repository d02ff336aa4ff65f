"""What the tests on Airflow have called; tasks import it from here, as `airflow.sh` wants it."""

from __future__ import annotations

import os
import signal
import time
import uuid
from pathlib import Path
from typing import Any


def note(folder: Path, number: int, seconds: float = 0) -> int:
    """Leave a file for each time that this runs."""
    (folder / f"{number}-{uuid.uuid4().hex}").touch()
    time.sleep(seconds)
    return number


def kill_the_task() -> None:
    """Kill the process that Airflow has started for the call, by which this one dies, too."""
    os.kill(os.getppid(), signal.SIGKILL)
    time.sleep(60)


def stay(began: Path) -> None:
    """Note which process this is, and stay."""
    part = began.with_suffix(".part")
    part.write_text(str(os.getpid()), encoding="utf-8")
    part.rename(began)
    time.sleep(60)


class LeavesAMark:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)
