"""Makes forks of the program wait while a pool opens or closes descriptors.

A child made by `os.fork` closes the descriptors of all pools that are on a list. A fork between the opening of a
descriptor and its entry in the list, or between its removal and its closing, would keep the descriptor open. A worker
would then not see the end of file that makes it exit.
"""

from __future__ import annotations

import os
import threading
from contextlib import AbstractContextManager

_lock = threading.RLock()  # the start method `fork` forks while it is held


def no_forks() -> AbstractContextManager[bool]:
    """Return the lock to hold meanwhile, as a context manager; hold it only for moments."""
    return _lock


def _begin() -> None:
    _lock.acquire()


def _end() -> None:
    _lock.release()


def _renew() -> None:
    global _lock  # noqa: PLW0603 - the thread that holds it may not exist in this process
    _lock = threading.RLock()


os.register_at_fork(before=_begin, after_in_parent=_end, after_in_child=_renew)
