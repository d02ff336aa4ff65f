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


def end_process_trees(pids: Iterable[int], grace: float) -> bool:
    """End processes and their descendants, and come back when all of them are gone.

    Each gets SIGTERM, the youngest generation first. What is left after `grace` seconds gets
    SIGKILL. Members of sessions that one of the processes leads belong to it, even when their
    parents are gone.

    To look for descendants takes a descriptor. While this process has none left, the roots and their process groups
    get the signals, which takes nothing.

    Args:
        pids: The processes at the roots of the trees.
        grace: Seconds.

    Returns:
        Whether all of them are gone. What hangs in the kernel does not end, even by SIGKILL.
    """
    roots = set(pids)
    asked: set[psutil.Process] = set()
    forced_from = time.monotonic() + grace
    forced_for_the_first_time = None
    pause = 0.001
    asked_groups = False
    while True:
        try:
            alive = _alive(_family(roots) | asked)
        except OSError:
            alive = None
            there = [pid for pid in roots if _leads_session(pid)]
        if not (there if alive is None else alive):
            return True
        now = time.monotonic()
        if now >= forced_from:  # counted from here: on a busy machine, to look at all processes may take seconds
            forced_for_the_first_time = forced_for_the_first_time or now
            if now > forced_for_the_first_time + KERNEL_SECONDS:
                return False  # it hangs in the kernel, and belongs to the administrator
        if alive is None and (now >= forced_from or not asked_groups):
            asked_groups = True
            for pid in there:
                with contextlib.suppress(OSError):  # gone in the meantime, or somebody else's
                    os.killpg(pid, signal.SIGKILL if now >= forced_from else signal.SIGTERM)
        for process in alive or ():
            with contextlib.suppress(psutil.Error):  # gone in the meantime, or somebody else's (setuid)
                if now >= forced_from:
                    process.send_signal(signal.SIGKILL)
                elif process not in asked:
                    process.send_signal(signal.SIGTERM)
        asked.update(alive or ())
        time.sleep(pause)
        pause = min(pause * 2, 0.05)


def _leads_session(pid: int) -> bool:
    """Whether a process is there; one that is no leader of a session has the id of a process that is gone."""
    with contextlib.suppress(OSError):
        return os.getsid(pid) == pid
    return False


def _family(roots: set[int]) -> set[psutil.Process]:
    family = set()
    for pid in roots:
        with contextlib.suppress(psutil.Error):
            root = psutil.Process(pid)
            family |= {root, *root.children(recursive=True)}
    for pid in psutil.pids():
        with contextlib.suppress(ProcessLookupError, PermissionError, psutil.Error):
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
