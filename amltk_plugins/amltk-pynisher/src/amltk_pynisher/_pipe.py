"""The pipe from the process of a call to the one that waits for it: what it carries, and the end to write to."""

from __future__ import annotations

import os
import signal
import struct
import threading

# What a frame is, whether the process may have children, how long the data that follows is.
HEADER = struct.Struct("=B?Q")

# The fresh interpreter has loaded the call, and begins it; a log record; a warning; and how the call ended.
BEGUN, RECORD, WARNING, RESULT, ERROR = range(5)
# What comes with BEGUN: the cpu seconds that it took.
LOADING_COST = struct.Struct("=d")

_SIGNALS = signal.valid_signals()


class FrameSender:
    """Writes whole frames, whoever sends them: threads, and handlers of signals that interrupt a frame."""

    def __init__(self, pipe: int) -> None:
        """Write to `pipe`, in this process but not in its forks: frames of several processes would get mixed up."""
        self._pipe = pipe
        self._open = True
        self._file = self._identity()
        self._lock = threading.RLock()
        os.register_at_fork(after_in_child=self._forget)

    def send(self, kind: int, data: bytes = b"", *, has_children: bool = False) -> None:
        """Write a frame.

        Raises:
            OSError: The function has closed the pipe, the reader is gone, or this is a fork.
        """
        if not self._open or self._identity() != self._file:
            msg = "The pipe to the process that waits for this call is closed."
            raise OSError(msg)
        left = [memoryview(HEADER.pack(kind, has_children, len(data))), memoryview(data)]
        with self._lock:
            unblocked = signal.pthread_sigmask(signal.SIG_BLOCK, ())
            try:
                # No signal interrupts the system call. So it writes all, and what a handler raises is before or after
                # it. The system takes up to 2 GB at once: there is more in an outcome only, when no handler runs.
                signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
                while any(left):
                    written = os.writev(self._pipe, left)
                    left = [left[0][written:], left[1][max(0, written - len(left[0])) :]]
            finally:
                signal.pthread_sigmask(signal.SIG_SETMASK, unblocked)

    def _identity(self) -> tuple[int, int]:
        # A function that closes all descriptors and opens a file may get our number for it.
        status = os.fstat(self._pipe)
        return status.st_dev, status.st_ino

    def _forget(self) -> None:
        self._open = False
