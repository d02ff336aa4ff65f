"""What workers write to stderr: it passes through the fork server, which keeps the end of it.

    a worker, and what it starts: fd 2 ──pipe──> Stream: keeps the last bytes ──> Outlet ──> the server's own fd 2

Nothing here waits. When nobody reads the server's stderr (a terminal that was stopped, a pipe into a
program that is busy), no more is taken from the pipes, and it is the workers that wait, as they
would if they wrote there themselves.
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
# So much of what each worker wrote last is kept: bytes.
_KEPT = 1 << 14
# So many bytes may wait for whoever reads our stderr.
_MOST_WAITING = 1 << 16
# What a progress bar wrote, and then wrote over. It is sought once in each line: the time grows with the length only.
_OVERWRITTEN = re.compile(rb"^[^\n]*\r(?=[^\r\n])", re.MULTILINE)

# What is told of it at most: lines, and characters of each.
LINES, WIDTH = 20, 200


def last_lines(kept: bytes) -> str:
    """Return the end of what was kept, as text; the beginning of a crash report, if that is longer."""
    text = kept.decode(errors="replace").rstrip()
    lines = [line.rstrip() for line in text.split("\n")]
    first = max(len(lines) - LINES, 0)
    # A crash report is long, and its beginning tells most.
    first = max((n for n, line in enumerate(lines[:first]) if line.startswith("Fatal Python error: ")), default=first)
    return "\n".join(line if len(line) <= WIDTH else line[: WIDTH - 1] + "…" for line in lines[first : first + LINES])


def as_shown(text: bytes) -> bytes:
    """Return text without what its lines overwrote, as progress bars do."""
    return _OVERWRITTEN.sub(b"", text) if b"\r" in text else text


class Stream:
    """One worker's stderr.

    Attributes:
        child_end: The end to write to; -1 once it was handed over.
        kept: What was written last.
        open: Somebody may still write.
    """

    def __init__(self) -> None:
        """Make a pipe; a terminal where ours is one, so that progress bars and colours stay as they are."""
        self._own_end, self.child_end = _terminal() or pipe()
        os.set_blocking(self._own_end, False)
        self.kept = b""
        self.open = True

    def fileno(self) -> int:
        """Return the end to read from."""
        return self._own_end

    def hand_over(self) -> None:
        """Close the end to write to, which a worker has now."""
        os.close(self.child_end)
        self.child_end = -1

    def take_over(self) -> None:
        """Make it this process's stderr: it is the worker."""
        os.close(self._own_end)
        os.dup2(self.child_end, 2)
        os.close(self.child_end)

    def read(self) -> bytes:
        """Return what is there; nothing also when nobody can write any more, which closes it."""
        try:
            data = os.read(self._own_end, _CHUNK)
        except BlockingIOError:
            return b""
        except OSError:  # how the end of a terminal looks
            data = b""
        if data:
            line = self.kept.rfind(b"\n") + 1  # what stands before it is settled
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
    """This process's stderr, written to without waiting for whoever reads it."""

    def __init__(self) -> None:
        """Find a way that neither blocks nor changes the descriptor, which is the main process's too."""
        self._waiting = bytearray()
        self._fd = 2
        self._socket: socket.socket | None = None
        mode = os.fstat(2).st_mode
        if stat.S_ISSOCK(mode):
            # A default timeout would make it non-blocking, for all who have this stderr.
            seconds = socket.getdefaulttimeout()
            socket.setdefaulttimeout(None)
            self._socket = socket.socket(fileno=os.dup(2))
            socket.setdefaulttimeout(seconds)
        elif stat.S_ISFIFO(mode) or stat.S_ISCHR(mode):
            with contextlib.suppress(OSError):  # then it may block
                self._fd = os.open("/proc/self/fd/2", os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY)

    def fileno(self) -> int:
        """Return what becomes writable when there is room."""
        return self._fd

    @property
    def waiting(self) -> bool:
        """Whether something waits to be written."""
        return bool(self._waiting)

    @property
    def full(self) -> bool:
        """Whether so much waits that nothing more should come."""
        return len(self._waiting) >= _MOST_WAITING

    def write(self, data: bytes) -> None:
        """Write it, now or, by `flush`, later."""
        self._waiting += data
        self.flush()

    def flush(self) -> None:
        """Write what can be written now."""
        while self._waiting:
            try:
                if self._socket is not None:
                    written = self._socket.send(self._waiting, socket.MSG_DONTWAIT)
                else:
                    written = os.write(self._fd, self._waiting)
            except BlockingIOError:
                return
            except OSError:  # whoever read it is gone, or the disk is full
                written = len(self._waiting)
            del self._waiting[:written]

    def drain(self, seconds: float) -> None:
        """Write what waits, as long as somebody reads it within so many seconds."""
        until = time.monotonic() + seconds
        poll = select.poll()
        poll.register(self._fd, select.POLLOUT)
        while self._waiting and (left := until - time.monotonic()) > 0:
            poll.poll(left * 1000)
            self.flush()

    def close(self) -> None:
        """Close what is this object's own."""
        if self._socket is not None:
            self._socket.close()
        if self._fd != 2:
            os.close(self._fd)


def _terminal() -> tuple[int, int] | None:
    if not os.isatty(2):
        return None
    try:
        own_end, child_end = os.openpty()
    except OSError:  # there are no more of them, or none at all
        return None
    tty.setraw(child_end)  # it is the real one that makes ends of lines
    termios.tcsetwinsize(child_end, termios.tcgetwinsize(2))
    return own_end, child_end
