"""What the main process and a worker say to each other: frames on a stream socket.

    main -> worker    FUNCTION  tag: its number                        data: the pickled function
                      CALL      number: of the call, tag: the function (0: it is in the data)
    worker -> main    RESULT    number: of the call, tag: microseconds  data: the pickled result
                      ERROR     likewise                                data: a pickled PackedException
                      ALIVE     first of all, when the worker is there

A frame is a header and then as many bytes of data as the header says.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

HEADER = struct.Struct("<BQQQ")  # kind, number, tag, length of the data
FUNCTION, CALL, RESULT, ERROR, ALIVE = range(5)
NUMBER = struct.Struct("<Q")  # a token: the number of a call, in a pipe of its own (see executor.py)

# Reading more at a time is no quicker, and allocates anew each time.
CHUNK = 1 << 16
# Both sides forget all functions when so many are known, so that endless lambdas fill no memory.
MOST_FUNCTIONS = 256

Frame = tuple[int, int, int, memoryview]


class FrameReader:
    """Puts frames together from what comes out of a socket, piece by piece."""

    def __init__(self) -> None:
        """Start at the beginning of a frame."""
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[Frame]:
        """Yield the frames that are complete now, each without a copy of its data."""
        buffer = self._buffer
        buffer += data
        whole, at = len(buffer), 0
        frames = []
        while at + HEADER.size <= whole:
            kind, number, tag, length = HEADER.unpack_from(buffer, at)
            start = at + HEADER.size
            if start + length > whole:
                break
            frames.append((kind, number, tag, start, start + length))
            at = start + length
        if frames:
            # The views keep this buffer, and a buffer with views can't grow: go on with a new one.
            self._buffer = buffer[at:]
            view = memoryview(buffer)
            for kind, number, tag, start, end in frames:
                yield kind, number, tag, view[start:end]
