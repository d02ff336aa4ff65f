"""Ends processes and their descendants: SIGTERM, a grace period, SIGKILL.

Resource trackers of multiprocessing, loky and joblib get neither signal. They remove what the other processes leave,
such as shared memory, and end by themselves after these.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import psutil

GRACE = 2.0
"""Seconds between SIGTERM and SIGKILL."""
KERNEL_SECONDS = 5
"""Seconds that a process may take to end after SIGKILL."""


class _Group(NamedTuple):
    """A root process and its process group, used while no descriptor is left: a signal needs none."""

    pid: int

    def send_signal(self, number: int) -> None:
        with contextlib.suppress(OSError):  # gone in the meantime, or another user's
            os.killpg(self.pid, number)


def end_process_trees(pids: Iterable[int], grace: float = GRACE) -> bool:
    """End processes and their descendants, and return when all of them are gone.

    Each gets SIGTERM, the youngest generation first. Processes left after `grace` seconds get
    SIGKILL. Members of a session that a root leads belong to its tree, even if their parents
    are gone.

    Looking for descendants takes a descriptor. While this process has none left, only the roots and their process
    groups get the signals.

    Args:
        pids: The processes at the roots of the trees.
        grace: Seconds; 0 if they were asked to end before, or must end at once.

    Returns:
        Whether all of them are gone. A process that hangs in the kernel survives even SIGKILL.
    """
    roots = set(pids)
    asked: set[psutil.Process | _Group] = set()
    forced_from = time.monotonic() + grace
    forced_for_the_first_time = None
    trackers_end_until = forced_from
    pause = 0.001
    while alive := _left(roots, asked):
        now = time.monotonic()
        others = [each for each in alive if isinstance(each, _Group) or not is_resource_tracker(each)]
        if others:
            trackers_end_until = now + GRACE
        if now >= forced_from:  # counted from here: on a busy machine, looking at all processes may take seconds
            forced_for_the_first_time = forced_for_the_first_time or now
            if now > forced_for_the_first_time + KERNEL_SECONDS:
                return False  # it hangs in the kernel; only the administrator can help
        for process in others or (alive if now >= trackers_end_until else ()):
            with contextlib.suppress(psutil.Error):  # gone in the meantime, or another user's (setuid)
                if now >= forced_from:
                    process.send_signal(signal.SIGKILL)
                elif process not in asked:
                    process.send_signal(signal.SIGTERM)
        asked.update(alive)
        time.sleep(pause)
        pause = min(pause * 2, 0.05)
    return True


def is_resource_tracker(process: psutil.Process) -> bool:
    """Whether a process is a resource tracker of multiprocessing, loky or joblib."""
    with contextlib.suppress(psutil.Error):
        return any("resource_tracker import main" in word for word in process.cmdline())
    return False


def _left(roots: set[int], asked: set[psutil.Process | _Group]) -> Sequence[psutil.Process | _Group]:
    try:
        return _alive(_family(roots) | {each for each in asked if isinstance(each, psutil.Process)})
    except OSError:  # no descriptor is left
        return [_Group(pid) for pid in roots if _leads_session(pid)]


def _leads_session(pid: int) -> bool:
    """Whether a process leads a session; if it does not, its id is a reused one."""
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
