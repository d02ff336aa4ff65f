"""Measurements of whole programs, and of the end of a run."""

from __future__ import annotations

import subprocess
import sys
import time

import psutil

from amltk import Scheduler

TIMEOUT_SECONDS = 1.0


def whole_process(code: str) -> float:
    """Return the mean duration of a Python process that runs `code`, in seconds."""
    repeats = 5
    start = time.perf_counter()
    for _ in range(repeats):
        subprocess.run([sys.executable, "-c", code], check=True)
    return (time.perf_counter() - start) / repeats


OURS_ONCE = """
from amltk import Scheduler
scheduler = Scheduler.with_processes(2)
scheduler.on_start(lambda: scheduler.submit(abs, -1))
scheduler.run()
"""
FORKSERVER_ONCE = """
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
with ProcessPoolExecutor(2, mp_context=get_context("forkserver")) as executor:
    executor.submit(abs, -1).result()
"""


def overrun() -> float:
    """Return the seconds from the timeout of a run, whose two workers sleep, to its return.

    Raises:
        RuntimeError: A child process is left over, or one of the calls did not run.
    """
    before = set(psutil.Process().children(recursive=True))
    asleep: set[psutil.Process] = set()
    scheduler = Scheduler.with_processes(max_workers=2)
    task = scheduler.task(time.sleep)

    @scheduler.on_start
    def submit() -> None:
        task(60.0)
        task(60.0)

    @scheduler.on_timeout
    def look() -> None:
        asleep.update(set(psutil.Process().children(recursive=True)) - before)

    start = time.perf_counter()
    scheduler.run(timeout=TIMEOUT_SECONDS, wait=False)
    seconds = time.perf_counter() - start - TIMEOUT_SECONDS
    left = [process for process in asleep if _lives(process)]
    left += set(psutil.Process().children(recursive=True)) - before
    if left or len(asleep) < 2:
        msg = f"Child processes were left over: {left}, started: {asleep}."
        raise RuntimeError(msg)
    return seconds


def _lives(process: psutil.Process) -> bool:
    """Return whether a process lives; False for a zombie that init has not reaped yet."""
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
