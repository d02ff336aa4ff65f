"""Undoes after each call what it leaves behind and what would kill or fail the next call.

Timers are stopped. The working directory, the signal mask, and the handlers of the most common signals are reset to
what they were when the worker began, or after its initializer. Everything else stays, as in other pools: see
docs/backends.md. The watchdog of `faulthandler` stays too: in a fork of a program that has one, cancelling it blocks
for ever.
"""

from __future__ import annotations

import contextlib
import os
import signal

# The functions of `signal` wrap these to return enums, which takes ten times as long.
from _signal import getsignal, pthread_sigmask  # type: ignore[import-not-found]
from os import fchdir
from signal import ITIMER_PROF, ITIMER_REAL, ITIMER_VIRTUAL, SIG_BLOCK, setitimer

TYPE_CHECKING = False  # each start would wait for `typing` to be imported
if TYPE_CHECKING:
    from typing import Any

_SIGNALS = tuple(map(int, (signal.SIGALRM, signal.SIGCHLD, signal.SIGINT, signal.SIGPIPE, signal.SIGTERM)))


class _Found:
    """The state that each call starts with."""

    def __init__(self) -> None:
        self._handlers: list[Any] = []
        self._mask: set[int] = set()
        self._directory = -1

    def remember(self) -> None:
        """Remember the present state."""
        self._handlers = [getsignal(number) for number in _SIGNALS]
        self._mask = pthread_sigmask(SIG_BLOCK, ())
        if self._directory >= 0:
            os.close(self._directory)
            self._directory = -1
        with contextlib.suppress(OSError):  # it was deleted, say
            self._directory = os.open(".", getattr(os, "O_PATH", os.O_RDONLY) | os.O_DIRECTORY)

    def undo(self) -> None:
        """Restore the remembered state. A handler of the call may still raise here, once."""
        setitimer(ITIMER_REAL, 0)
        setitimer(ITIMER_VIRTUAL, 0)
        setitimer(ITIMER_PROF, 0)
        if [getsignal(number) for number in _SIGNALS] != self._handlers:
            for number, handler in zip(_SIGNALS, self._handlers, strict=True):
                if handler is not None:  # None: not installed by Python
                    signal.signal(number, handler)
        mask = pthread_sigmask(SIG_BLOCK, ())
        if mask != self._mask:
            # Pending signals are the call's and are dropped, except for the request to end this worker.
            while signal.sigtimedwait(mask - {signal.SIGTERM}, 0):
                pass
            signal.pthread_sigmask(signal.SIG_SETMASK, self._mask)
        try:
            fchdir(self._directory)
        except OSError:  # there was none, or it may no longer be entered
            return


_found = _Found()
remember, undo = _found.remember, _found.undo
