"""The protocol between the main process and a worker: frames on a stream socket.

    main -> worker    FUNCTION  tag: its number                        data: the pickled function
                      CALL      number: of the call, tag: the function (0: it is in the data)
                      BEAT      tag: microseconds between two signs of life
    worker -> main    RESULT    number: of the call, tag: microseconds, started    data: the pickled result
                      ERROR     likewise                                           data: a pickled PackedException
                      ALIVE     number: the process's id, tag: the most bytes of memory that it has held, or 0;
                                first of all, before the result of a longer call, and as often as asked for
                      LOG       number: of the call                     data: a pickled log record

A frame is a header, the sizes of its buffers, its data, and the buffers, which pickle (protocol 5)
leaves out of the data because they are large. Each buffer is received into memory of its own and stays
there: the received array uses that memory.
"""

from __future__ import annotations

import collections
import mmap
import socket
import struct
import threading
from collections.abc import Sequence

from amltk.descriptors import NO_SIGPIPE

HEADER = struct.Struct("<BQQdQI")  # kind, number, tag, when it started, length of the data, how many buffers
FUNCTION, CALL, RESULT, ERROR, LOG, ALIVE, BEAT = range(7)
NUMBER = struct.Struct("<Q")  # a token: the number of a call, in a pipe of its own (see _worker_connection.py)

# Microseconds. A call that takes less is short: more and more calls are sent ahead.
SHORT = 1_000
# The size of a read; larger reads are no quicker, and allocate memory each time. Larger data is not copied to be sent.
CHUNK = 1 << 16
# From this size on, `mmap` is quicker: a bytearray would first fill fresh memory with zeros, under the GIL.
_MAPPED = 1 << 25
# Both sides drop all functions when they have so many, so that many lambdas do not fill the memory.
MOST_FUNCTIONS = 256

Memory = bytes | bytearray | memoryview
# If the buffers are None, there was no memory for the frame, and its data is lost.
Frame = tuple[int, int, int, float, memoryview, Sequence[Memory] | None]


def pack(
    kind: int, number: int, tag: int, data: bytes, buffers: Sequence[Memory] = (), started: float = 0.0
) -> list[Memory]:
    """Return the pieces of a frame, without copying large data."""
    head = HEADER.pack(kind, number, tag, started, len(data), len(buffers))
    if buffers:
        head += struct.pack(f"<{len(buffers)}Q", *map(len, buffers))
    return [head + data, *buffers] if len(data) < CHUNK else [head, data, *buffers]


class FrameWriter:
    """Sends whole frames, from any thread, to a blocking socket."""

    def __init__(self, connection: socket.socket) -> None:
        """Take a socket that only this object writes to."""
        self._connection = connection
        # Reentrant for signal handlers. A frame of a handler that interrupts another frame waits until that is sent.
        self._lock = threading.RLock()
        self._waiting: collections.deque[list[Memory]] = collections.deque()
        self._sending = False

    def send(self, pieces: list[Memory]) -> None:
        """Send the pieces of a frame, and then frames that were added meanwhile.

        Raises:
            OSError: The connection is broken.
        """
        with self._lock:
            if self._sending:
                self._waiting.append(pieces)
                return
            self._sending = True
            try:
                for piece in pieces:
                    self._connection.sendall(piece, NO_SIGPIPE)
                while self._waiting:
                    for piece in self._waiting.popleft():
                        self._connection.sendall(piece, NO_SIGPIPE)
            finally:
                self._sending = False

    def forget(self) -> None:
        """Close the connection: this process is a fork, and the thread that held the lock is not in it."""
        self._lock = threading.RLock()
        self._connection.close()


class FrameReader:
    """Assembles frames from the pieces that a socket returns."""

    def __init__(self, connection: socket.socket) -> None:
        """Start at the beginning of a frame."""
        self._connection = connection
        self._rest = b""  # an incomplete small frame, or an incomplete head of a large one
        self._large: Frame | None = None
        self._missing: collections.deque[memoryview] = collections.deque()  # memory for the rest of the large frame
        self._to_drop = 0  # bytes left of a frame for which there is no memory

    def read(self) -> list[Frame] | None:
        """Read once, and return the frames that are complete now; None at the end of the file.

        Raises:
            OSError: The connection is broken, or does not block and nothing is there.
        """
        if self._to_drop:
            return self._drop()
        if self._missing:
            return self._read_large()
        received = self._connection.recv(CHUNK)
        if not received:
            return None
        data = self._rest + received if self._rest else received
        view = memoryview(data)
        frames: list[Frame] = []
        at, whole = 0, len(data)
        while whole - at >= HEADER.size:
            kind, number, tag, started, length, count = HEADER.unpack_from(data, at)
            start = at + HEADER.size
            if not count and start + length <= whole:
                frames.append((kind, number, tag, started, view[start : start + length], ()))
                at = start + length
                continue
            sizes_end = start + 8 * count
            if whole < sizes_end or (not count and length <= CHUNK):
                break
            sizes = struct.unpack_from(f"<{count}Q", data, start)
            at = self._begin_large((kind, number, tag, started), (length, *sizes), view, sizes_end)
            if not self._missing and not self._to_drop:
                frames += self._end_large()
        self._rest = data[at:]
        return frames

    def _begin_large(self, head: tuple[int, int, int, float], sizes: tuple[int, ...], view: memoryview, at: int) -> int:
        try:
            parts = [_allocate(size) for size in sizes]
        except (MemoryError, OSError):  # `mmap` raises OSError
            self._large = (*head, memoryview(b""), None)
            dropped = min(sum(sizes), len(view) - at)
            self._to_drop = sum(sizes) - dropped
            return at + dropped
        self._large = (*head, memoryview(parts[0]), parts[1:])
        self._missing.extend(memoryview(part) for part in parts if part)
        while self._missing and at < len(view):
            received = view[at : at + len(self._missing[0])]
            self._missing[0][: len(received)] = received
            at += len(received)
            self._received(len(received))
        return at

    def _read_large(self) -> list[Frame] | None:
        length = self._connection.recv_into(self._missing[0])
        if not length:
            return None
        self._received(length)
        return [] if self._missing else self._end_large()

    def _drop(self) -> list[Frame] | None:
        dropped = len(self._connection.recv(min(CHUNK, self._to_drop)))
        if not dropped:
            return None
        self._to_drop -= dropped
        return [] if self._to_drop else self._end_large()

    def _received(self, length: int) -> None:
        rest = self._missing[0][length:]
        if rest:
            self._missing[0] = rest
        else:
            self._missing.popleft()

    def _end_large(self) -> list[Frame]:
        assert self._large is not None
        frames, self._large = [self._large], None
        return frames


def _allocate(size: int) -> bytearray | memoryview:
    if size < _MAPPED:
        return bytearray(size)
    memory = mmap.mmap(-1, size, access=mmap.ACCESS_COPY)
    if hasattr(mmap, "MADV_HUGEPAGE"):
        memory.madvise(mmap.MADV_HUGEPAGE)
    return memoryview(memory)
