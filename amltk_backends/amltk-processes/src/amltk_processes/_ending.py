"""Ends processes with all that descends from them: asked first, then by force."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterable

import psutil

KERNEL_SECONDS = 5
"""How long what gets SIGKILL may take to be gone."""


def end_process_trees(pids: Iterable[int], grace: float) -> None:
    """End processes and their descendants, and come back when all of them are gone.

    Each gets SIGTERM, the youngest generation first. What is left after `grace` seconds gets
    SIGKILL. Members of sessions that one of the processes leads belong to it, even when their
    parents are gone.

    Args:
        pids: The processes at the roots of the trees.
        grace: Seconds.
    """
    roots = set(pids)
    asked: set[psutil.Process] = set()
    forced_from = time.monotonic() + grace
    forced_for_the_first_time = None
    pause = 0.001
    while alive := _alive(_family(roots) | asked):
        now = time.monotonic()
        if now >= forced_from:  # counted from here: on a busy machine, to look at all processes may take seconds
            forced_for_the_first_time = forced_for_the_first_time or now
            if now > forced_for_the_first_time + KERNEL_SECONDS:
                return  # what even SIGKILL doesn't end hangs in the kernel, and belongs to the administrator
        for process in alive:
            with contextlib.suppress(psutil.Error):  # gone in the meantime, or somebody else's (setuid)
                if now >= forced_from:
                    process.send_signal(signal.SIGKILL)
                elif process not in asked:
                    process.send_signal(signal.SIGTERM)
        asked.update(alive)
        time.sleep(pause)
        pause = min(pause * 2, 0.05)


def _family(roots: set[int]) -> set[psutil.Process]:
    family = set()
    for pid in roots:
        with contextlib.suppress(psutil.Error):
            root = psutil.Process(pid)
            family |= {root, *root.children(recursive=True)}
    for pid in psutil.pids():
        with contextlib.suppress(OSError, psutil.Error):
            if os.getsid(pid) in roots:
                family.add(psutil.Process(pid))
    return family


def _alive(processes: set[psutil.Process]) -> list[psutil.Process]:
    alive = []
    for process in processes:
        with contextlib.suppress(psutil.Error):
            if process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
                alive.append(process)
    return sorted(alive, key=lambda process: process.pid, reverse=True)
