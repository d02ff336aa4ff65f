"""A worker as the main process sees it: its socket, its pipe of tokens, and the calls that it has."""

from __future__ import annotations

import collections
import contextlib
import itertools
import os
import socket
import time
from collections.abc import Iterable, Iterator

from amltk_processes._call import Call
from amltk_processes._frames import (
    CALL,
    CHUNK,
    FUNCTION,
    LEVELS,
    MOST_FUNCTIONS,
    NUMBER,
    Frame,
    FrameReader,
    Memory,
    pack,
)

# A call is short if it takes less than this (microseconds): only then others are sent ahead.
SHORT = 1000
# How many calls a worker may have at most, the running one included.
MOST_CALLS = 64
# Seconds after which a running call is no short one any more.
STUCK = 0.01


class Link:
    """The way to one worker. Nothing here blocks.

    Attributes:
        pid: Of the worker; None while it is being started.
        calls: Those it has, by number, in the order in which it will run them.
        may_have: How many calls it may have: doubled by each short call, 1 after a long one.
        initializing: It has not done its first call yet, which is the initializer's.
        open: Both ends are open, as far as one knows.
        tasks_left: How many more it may be given before it makes room for another; None is no limit.
    """

    def __init__(self, max_tasks: int | None) -> None:
        """Make both ways, of which `theirs` and `tokens` are for the worker."""
        self.connection, self.theirs = socket.socketpair()
        self.connection.setblocking(False)
        self.tokens, self._give_token = os.pipe()
        os.set_blocking(self.tokens, False)
        self.pid: int | None = None
        self.calls: dict[int, Call] = {}
        self.may_have = 1
        self.initializing = False
        self.open = True
        self.tasks_left = max_tasks
        self._numbers = itertools.count()
        self._functions: set[int] = set()
        self._out: collections.deque[memoryview] = collections.deque()
        self._frames = FrameReader(self.connection)
        self._last_answer = time.monotonic()

    def room(self) -> int:
        """Return how many calls it could take now; many at a time, rather than one by one."""
        if not self.open or len(self.calls) > self.may_have // 2:
            return 0
        room = self.may_have - len(self.calls)
        return room if self.tasks_left is None else min(room, self.tasks_left)

    def tell_levels(self, levels: bytes) -> None:
        """Have the worker send what it logs, if it is of these levels; before anything else."""
        self._out.append(memoryview(b"".join(pack(LEVELS, 0, 0, levels))))
        self.flush()

    def initialize(self, call: Call) -> None:
        """Send the call that comes before all others, and counts for none."""
        self.initializing = True
        self.give([call])
        if self.tasks_left is not None:
            self.tasks_left += 1

    def give(self, calls: Iterable[Call]) -> None:
        """Send calls, as far as the socket takes them at once; `flush` sends the rest."""
        if not self.calls:
            self._last_answer = time.monotonic()
        pieces: list[Memory] = []
        tokens = bytearray()
        for call in calls:
            number = next(self._numbers)
            self.calls[number] = call
            tokens += NUMBER.pack(number)
            function = call.function
            if function.number and function.number not in self._functions:
                if len(self._functions) >= MOST_FUNCTIONS:
                    self._functions.clear()
                self._functions.add(function.number)
                pieces += pack(FUNCTION, 0, function.number, function.data)
            pieces += pack(CALL, number, function.number, call.data, call.buffers)
        if self.tasks_left is not None:
            self.tasks_left -= len(tokens) // NUMBER.size
        small = bytearray()
        for piece in pieces:
            if len(piece) < CHUNK:
                small += piece
            else:  # worth a way around the copy
                self._out += [memoryview(small), memoryview(piece)]
                small = bytearray()
        if small:
            self._out.append(memoryview(small))
        self.flush()
        os.write(self._give_token, tokens)

    def flush(self) -> bool:
        """Send what the socket takes; True when nothing is left to send."""
        while self._out:
            try:
                sent = self.connection.send(self._out[0])
            except BlockingIOError:
                return False
            except ConnectionError:  # it is dead; the fork server will tell
                self._out.clear()
                return True
            if sent < len(self._out[0]):
                self._out[0] = self._out[0][sent:]
            else:
                self._out.popleft()
        return True

    def receive(self) -> list[Frame] | None:
        """Return the answers that are complete now; None when it closed its end."""
        try:
            return self._frames.read()
        except BlockingIOError:
            return []
        except ConnectionError:
            return None

    def receive_rest(self) -> Iterator[Frame]:
        """Yield the answers that are still there of a worker that is dead."""
        with contextlib.suppress(BlockingIOError, ConnectionError):
            while self.open and (frames := self._frames.read()) is not None:
                yield from frames

    def answered(self, number: int, microseconds: int) -> Call:
        """Take note that a call is over."""
        self._last_answer = time.monotonic()
        self.initializing = False
        self.may_have = min(self.may_have * 2, MOST_CALLS) if microseconds < SHORT else 1
        return self.calls.pop(number)

    def is_stuck(self) -> bool:
        """Whether calls wait behind a long one."""
        return len(self.calls) > 1 and time.monotonic() - self._last_answer > STUCK

    def take_back(self, most: int = MOST_CALLS + 1) -> list[Call]:
        """Take calls back that have not begun, `most` of them, in the order in which they were given."""
        try:
            tokens = os.read(self.tokens, NUMBER.size * most)
        except BlockingIOError:
            return []
        if not tokens:
            return []
        taken = [self.calls.pop(number) for (number,) in NUMBER.iter_unpack(tokens)]
        if self.tasks_left is not None:
            self.tasks_left += len(taken)
        self.may_have = 1
        return taken

    def hand_over(self) -> None:
        """Close the worker's end of the socket, which it has now. The pipe's stays, for `take_back`."""
        self.theirs.close()

    def close(self) -> None:
        """Close all, once: an idle worker ends then."""
        self.open = False
        self.connection.close()
        self.theirs.close()
        os.close(self.tokens)
        os.close(self._give_token)
