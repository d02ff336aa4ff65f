"""Has forks of the program wait while a pool opens or closes descriptors.

A fork, by `os.fork`, closes those of all pools that are on a list. One that came between the opening of a descriptor
and its place on the list, or between its removal and its closing, would keep it, and so keep workers alive that end
with the last who has the other end.
"""

from __future__ import annotations

import os
import threading
from contextlib import AbstractContextManager

_lock = threading.RLock()  # the start method `fork` forks while it is held


def no_forks() -> AbstractContextManager[bool]:
    """Return what to hold meanwhile, as a context; what takes long has no place in it."""
    return _lock


def _begin() -> None:
    _lock.acquire()


def _end() -> None:
    _lock.release()


def _renew() -> None:
    global _lock  # noqa: PLW0603 - whoever holds it may be no thread of this process
    _lock = threading.RLock()


os.register_at_fork(before=_begin, after_in_parent=_end, after_in_child=_renew)
