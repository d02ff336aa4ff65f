"""The pipe from the process of a call to its parent: the format of its frames, and the sender."""

from __future__ import annotations

import os
import signal
import struct
import threading

# The kind of a frame, whether the process may have children, the length of the data that follows.
HEADER = struct.Struct("=B?Q")

# The fresh interpreter has loaded the call and begins it; a log record; a warning; the outcome.
BEGUN, RECORD, WARNING, RESULT, ERROR = range(5)
# The data of BEGUN: the cpu seconds that loading took.
LOADING_COST = struct.Struct("=d")

_SIGNALS = signal.valid_signals()


class FrameSender:
    """Writes whole frames from threads, and from signal handlers that interrupt a frame."""

    def __init__(self, pipe: int) -> None:
        """Write to `pipe`, but not in forks of this process: frames of several processes would mix."""
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
                # No signal interrupts the system call, so it writes all, and a handler raises before or after it. The
                # system writes up to 2 GB at once. Only an outcome is larger, and no handler runs then.
                signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
                while any(left):
                    written = os.writev(self._pipe, left)
                    left = [left[0][written:], left[1][max(0, written - len(left[0])) :]]
            finally:
                signal.pthread_sigmask(signal.SIG_SETMASK, unblocked)

    def _identity(self) -> tuple[int, int]:
        # A function that closes all descriptors and opens a file may get the number of the pipe for it.
        status = os.fstat(self._pipe)
        return status.st_dev, status.st_ino

    def _forget(self) -> None:
        self._open = False
