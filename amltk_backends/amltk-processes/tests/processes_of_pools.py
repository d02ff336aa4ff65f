"""The processes that belong to the pools of this test, and to nobody else."""

from __future__ import annotations

import psutil


def servers() -> list[psutil.Process]:
    """Return the fork servers; resource trackers, which a test of another folder may have begun, are none."""
    return [child for child in psutil.Process().children() if not _is_tracker(child)]


def workers() -> list[psutil.Process]:
    """Return the workers of all fork servers."""
    return [worker for server in servers() for worker in server.children()]


def _is_tracker(process: psutil.Process) -> bool:
    try:
        return any("resource_tracker" in word for word in process.cmdline())
    except psutil.NoSuchProcess:  # it has just ended
        return False
