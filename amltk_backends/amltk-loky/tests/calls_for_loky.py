"""What workers run in these tests. They import it."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

from loky.backend import get_context

PATIENCE = 60


def note(folder: Path) -> Path:
    """Leave a file that is named after this process; each call leaves another."""
    for n in range(1000):
        path = folder / f"{os.getpid()}-{n}"
        if not path.exists():
            path.touch()
            return path
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


def die_with_an_orphan(folder: Path) -> None:
    """Leave a process behind whose parent is gone, and die."""
    code = "import os, time; os.fork() and os._exit(0); time.sleep(60)"
    command = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {code!r}]).wait()"
    subprocess.run([sys.executable, "-c", command], check=True)
    die(folder)


def leave_a_process(_: object) -> int:
    return subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]).pid


def start_processes() -> tuple[str, list[int | None]]:
    """Return the start method, and the exit codes of processes of it and of others."""
    processes = [
        each.Process(target=abs, args=(-1,))
        for each in (multiprocessing, *map(multiprocessing.get_context, ("fork", "spawn")))
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    return multiprocessing.get_start_method(), [process.exitcode for process in processes]


def leave_a_child() -> int:
    """Leave one for which Python waits when this process ends."""
    multiprocessing.Process(target=time.sleep, args=(PATIENCE,)).start()
    return os.getpid()


def leave_a_child_as_joblib_does() -> None:
    get_context("loky").Process(target=time.sleep, args=(PATIENCE,)).start()


def use_a_tracker(gate: Path, folder: Path) -> None:
    """Have a resource tracker of this worker, and a file that it is to remove, as joblib has them."""
    from loky.backend.resource_tracker import ResourceTracker

    file = folder / "large"
    file.touch()
    tracker = ResourceTracker()
    tracker.register(str(file), "file")
    wait_for(gate, folder)


def leave_a_thread() -> int:
    threading.Thread(target=time.sleep, args=(PATIENCE,)).start()
    return os.getpid()


def die_in_the_initializer(folder: Path) -> None:
    note(folder)
    os._exit(5)


def blas_threads() -> list[int]:
    import numpy as np
    import threadpoolctl

    np.ones((2, 2)) @ np.ones((2, 2))  # it is loaded by now
    return [each["num_threads"] for each in threadpoolctl.threadpool_info() if each["user_api"] == "blas"]


def sessions() -> tuple[int, int, int]:
    return os.getpid(), os.getsid(0), os.getpgid(0)


def environment(name: str) -> str | None:
    return os.environ.get(name)


def compute_in_c(folder: Path) -> None:
    """Keep the interpreter's lock for a long time, without a chance for any thread."""
    note(folder)
    sum(range(10**11))
