"""The stderr of workers: it passes through the fork server, which keeps the end of it.

    a worker, and what it starts: fd 2 ──pipe──> Stream: keeps the last bytes ──> Outlet ──> the server's own fd 2

Nothing here blocks. While the server's stderr accepts nothing (a stopped terminal, a pipe into a busy
program), the server stops reading from the pipes. Then workers that write wait, as they would if they
wrote there themselves.
"""

from __future__ import annotations

import contextlib
import os
import re
import select
import socket
import stat
import termios
import time
import tty

from amltk.descriptors import pipe

_CHUNK = 1 << 16
# Bytes that are kept of each worker's output.
_KEPT = 1 << 14
# Bytes that may wait for our stderr.
_MOST_WAITING = 1 << 16
# Text that a progress bar has overwritten. The anchor keeps the time linear: one match per line.
_OVERWRITTEN = re.compile(rb"^[^\n]*\r(?=[^\r\n])", re.MULTILINE)

# The most that an error shows: lines, and characters of each.
LINES, WIDTH = 20, 200


def last_lines(kept: bytes) -> str:
    """Return the last lines of the kept output; if it has a crash report that is longer, return its beginning."""
    text = kept.decode(errors="replace").rstrip()
    lines = [line.rstrip() for line in text.split("\n")]
    first = max(len(lines) - LINES, 0)
    # The beginning of a crash report is its most useful part.
    first = max((n for n, line in enumerate(lines[:first]) if line.startswith("Fatal Python error: ")), default=first)
    return "\n".join(line if len(line) <= WIDTH else line[: WIDTH - 1] + "…" for line in lines[first : first + LINES])


def as_shown(text: bytes) -> bytes:
    """Return text as a terminal shows it, without what progress bars have overwritten."""
    return _OVERWRITTEN.sub(b"", text) if b"\r" in text else text


class Stream:
    """One worker's stderr.

    Attributes:
        child_end: The descriptor to write to; -1 after `hand_over`.
        kept: The end of the output.
        open: A process may still write.
    """

    def __init__(self) -> None:
        """Make a pipe; a terminal if our stderr is one, so that progress bars and colours stay as they are."""
        self._own_end, self.child_end = _terminal() or pipe()
        os.set_blocking(self._own_end, False)
        self.kept = b""
        self.open = True

    def fileno(self) -> int:
        """Return the descriptor to read from."""
        return self._own_end

    def hand_over(self) -> None:
        """Close the descriptor to write to, which the worker has now."""
        os.close(self.child_end)
        self.child_end = -1

    def take_over(self) -> None:
        """Make it the stderr of this process, the worker."""
        os.close(self._own_end)
        os.dup2(self.child_end, 2)
        os.close(self.child_end)

    def read(self) -> bytes:
        """Return the output that has arrived; close the stream at its end, and return nothing."""
        try:
            data = os.read(self._own_end, _CHUNK)
        except BlockingIOError:
            return b""
        except OSError:  # a terminal ends with an error
            data = b""
        if data:
            line = self.kept.rfind(b"\n") + 1  # the lines before are complete
            self.kept = (self.kept[:line] + as_shown(self.kept[line:] + data))[-_KEPT:]
        else:
            self.close()
        return data

    def close(self) -> None:
        """Close this process's descriptors, once."""
        if self.open:
            self.open = False
            os.close(self._own_end)
        if self.child_end >= 0:
            self.hand_over()


class Outlet:
    """This process's stderr, written to without blocking."""

    def __init__(self) -> None:
        """Choose a way that neither blocks nor changes the descriptor, which the main process shares."""
        self._waiting = bytearray()
        self._fd = 2
        self._socket: socket.socket | None = None
        mode = os.fstat(2).st_mode
        if stat.S_ISSOCK(mode):
            # A default timeout would make it non-blocking for every process with this stderr.
            seconds = socket.getdefaulttimeout()
            socket.setdefaulttimeout(None)
            self._socket = socket.socket(fileno=os.dup(2))
            socket.setdefaulttimeout(seconds)
        elif stat.S_ISFIFO(mode) or stat.S_ISCHR(mode):
            with contextlib.suppress(OSError):  # then writing may block
                self._fd = os.open("/proc/self/fd/2", os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY)

    def fileno(self) -> int:
        """Return the descriptor to poll for writing."""
        return self._fd

    @property
    def waiting(self) -> bool:
        """Whether output waits to be written."""
        return bool(self._waiting)

    @property
    def full(self) -> bool:
        """Whether so much output waits that none should be added."""
        return len(self._waiting) >= _MOST_WAITING

    def write(self, data: bytes) -> None:
        """Write data now, or keep it for `flush`."""
        self._waiting += data
        self.flush()

    def flush(self) -> None:
        """Write as much as can be written now."""
        while self._waiting:
            try:
                if self._socket is not None:
                    written = self._socket.send(self._waiting, socket.MSG_DONTWAIT)
                else:
                    written = os.write(self._fd, self._waiting)
            except BlockingIOError:
                return
            except OSError:  # the reader is gone, or the disk is full
                written = len(self._waiting)
            del self._waiting[:written]

    def drain(self, seconds: float) -> None:
        """Write all that waits, for at most so many seconds."""
        until = time.monotonic() + seconds
        poll = select.poll()
        poll.register(self._fd, select.POLLOUT)
        while self._waiting and (left := until - time.monotonic()) > 0:
            poll.poll(left * 1000)
            self.flush()

    def close(self) -> None:
        """Close the descriptors that this object has opened."""
        if self._socket is not None:
            self._socket.close()
        if self._fd != 2:
            os.close(self._fd)


def _terminal() -> tuple[int, int] | None:
    if not os.isatty(2):
        return None
    try:
        own_end, child_end = os.openpty()
    except OSError:  # the system has no more terminals, or none
        return None
    tty.setraw(child_end)  # the real terminal translates ends of lines
    termios.tcsetwinsize(child_end, termios.tcgetwinsize(2))
    return own_end, child_end
