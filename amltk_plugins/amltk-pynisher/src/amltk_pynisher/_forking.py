"""Decides whether a process can be forked: a lock that another thread holds stays locked in the fork."""

from __future__ import annotations

import ctypes
import os
import re
import sys
import threading
from pathlib import Path

_OMP_PAUSE_SOFT = 1
_GOMP = re.compile(r"/.*/libgomp[^/\n]*$", re.MULTILINE)  # at the end of a line of maps


def obstacle() -> str | None:
    """Prepare this process for a fork by this thread; return the reason if that is impossible, else None."""
    if sys.platform == "darwin":
        return "macOS does not allow a fork"
    if threading.active_count() > 1:
        others = [thread.name for thread in threading.enumerate() if thread is not threading.current_thread()]
        return f"this process has other threads ({', '.join(others[:3])}{', ...' if len(others) > 3 else ''})"
    try:
        if len(list(Path("/proc/self/task").iterdir())) == 1:
            return None
        libraries = set(_GOMP.findall(Path("/proc/self/maps").read_text()))
    except OSError:
        return None
    # OpenBLAS and the OpenMP of LLVM and Intel handle forks. That of GCC does not: a parallel loop in the fork would
    # wait for threads that do not exist there. On request it ends those of this thread; the next parallel loop makes
    # new ones.
    if all(_pause(library) for library in libraries):
        return None
    return "OpenMP has threads in this process, which this version of OpenMP cannot end (set OMP_NUM_THREADS=1)"


def _pause(library: str) -> bool:
    try:
        openmp = ctypes.CDLL(library, mode=os.RTLD_NOLOAD | os.RTLD_NOW)
        return bool(openmp.omp_pause_resource_all(_OMP_PAUSE_SOFT) == 0)
    except (OSError, AttributeError):  # GCC before 9
        return False
