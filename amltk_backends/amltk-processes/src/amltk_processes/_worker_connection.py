"""A worker as the main process sees it: its socket, its pipe of tokens, and the calls that it has.

The main process sends a call as data on the worker's socket, and writes a token, the call's number, to its pipe. The
worker takes one token at a time and runs the call of that number. The main process holds the reading end of the pipe
too, and can reclaim a call by taking its token out. The kernel gives each token to one of the two. So a call runs at
most once, whichever process dies. Short calls can be sent ahead: when a call turns out long, those behind it are
reclaimed. And when a worker dies, the call without a token is the one that it ran.
"""

from __future__ import annotations

import collections
import contextlib
import itertools
import os
import time
from collections.abc import Iterable, Iterator
from typing import Any

from amltk.descriptors import NO_SIGPIPE, pipe, socketpair
from amltk_processes._call import Call, PoolFuture, Ran
from amltk_processes._fork_lock import no_forks
from amltk_processes._frames import (
    BEAT,
    CALL,
    CHUNK,
    FUNCTION,
    MOST_FUNCTIONS,
    NUMBER,
    SHORT,
    Frame,
    FrameReader,
    Memory,
    pack,
)

# Behind a call of less than this, one other is sent ahead, so that the worker does not wait for the way there and back.
MEDIUM = 50_000
# How many calls a worker may have at most, the running one included.
MOST_CALLS = 256
# Seconds to sleep at most: selectors take no more than 24 days, and `time.sleep` no more than some hundred years.
LONGEST = 86_400.0
# How often one looks for signs of life within the time that a worker has for one.
LOOKS = 5
# Seconds after which a running call is no short one any more, and no medium one.
STUCK, STUCK_ONE = 0.01, 0.1


class WorkerConnection:
    """The way to one worker. Nothing here blocks.

    Attributes:
        pid: Of the worker; None while it is being started.
        calls: Those it has, by number, in the order in which it will run them.
        window: How many calls it may have: doubled by each short call, 2 after a medium and 1 after a long one.
        initializing: It has not done its first call yet, which is the initializer's.
        has_worked: It has answered.
        open: Both ends are open, as far as one knows.
        ready: It has said its first word.
        worker_pid: What it has said its process is; it says so before `pid` is known, at times.
        peak_memory: The most bytes that it has held, as it said last.
        silent: How often one has looked in vain for a sign of life.
        retired: It is being ended, and holds only its place.
        since: From when on the first of its calls may have been running, by the monotonic clock.
        tasks_left: How many more it may be given before it makes room for another; None is no limit.
    """

    def __init__(self, max_tasks: int | None) -> None:
        """Make both ways, of which `child_end` and `tokens` are for the worker."""
        self.connection, self.child_end = socketpair()
        # Explicitly, since `socket.setdefaulttimeout` makes both ends non-blocking.
        self.connection.setblocking(False)
        self.child_end.setblocking(True)
        self.tokens, self._give_token = pipe()
        self._pipe = [self.tokens, self._give_token]
        for end in self._pipe:
            os.set_blocking(end, False)
        self.pid: int | None = None
        self.worker_pid = 0
        self.peak_memory: int | None = None
        self.calls: dict[int, Call] = {}
        self.window = 1
        self.initializing = self.has_worked = False
        self.open = True
        self.ready = self.retired = False
        self.silent = 0
        self.since = time.monotonic()
        self.tasks_left = max_tasks
        self._numbers = itertools.count()
        self._functions: set[int] = set()
        self._out: collections.deque[memoryview] = collections.deque()
        self._frames = FrameReader(self.connection)

    def free_slots(self) -> int:
        """Return how many calls it could take now; many at a time, rather than one by one."""
        if not self.open or len(self.calls) > self.window // 2:
            return 0
        free = self.window - len(self.calls)
        return free if self.tasks_left is None else min(free, self.tasks_left)

    def takes_at_once(self, call: Call) -> bool:
        """Whether an idle worker can be given a call with nothing left to be done about it until it answers."""
        known = call.function.number in self._functions or not call.function.number
        return known and call.timeout is None and not call.is_large() and self.free_slots() > 0

    def ask_for_beats(self, seconds: float) -> None:
        """Have the worker give a sign of life each time so many seconds have passed; before anything else."""
        self._out.append(memoryview(b"".join(pack(BEAT, 0, int(seconds * 1e6), b""))))

    def prepare(self, preparation: bytes) -> None:
        """Send what a fresh interpreter reads before it is a worker; before anything else."""
        self._out.append(memoryview(preparation))

    def initialize(self, call: Call) -> None:
        """Send the call that comes before all others, and counts for none."""
        self.initializing = True
        self.give([call])
        if self.tasks_left is not None:
            self.tasks_left += 1

    def give(self, calls: Iterable[Call]) -> list[Call]:
        """Send calls, as far as the socket takes them at once; `flush` sends the rest.

        Returns:
            Those that it does not get, for its pipe is full: the last ones. An idle worker gets at least one.
        """
        if not self.calls:
            self.since = time.monotonic()
        pieces: list[Memory] = []
        tokens = bytearray()
        for call in calls:
            number = next(self._numbers)
            self.calls[number] = call
            call.future.ran = self
            tokens += NUMBER.pack(number)
            function = call.function
            if function.number and function.number not in self._functions:
                if len(self._functions) >= MOST_FUNCTIONS:
                    self._functions.clear()
                self._functions.add(function.number)
                pieces += pack(FUNCTION, 0, function.number, function.data)
            pieces += pack(CALL, number, function.number, call.data, call.buffers)
        self._send_soon(pieces)
        self.flush()
        return self._give_tokens(tokens)

    def _send_soon(self, pieces: list[Memory]) -> None:
        small = bytearray()
        for piece in pieces:
            if len(piece) < CHUNK:
                small += piece
            else:  # worth a way around the copy
                self._out += [memoryview(small), memoryview(piece)]
                small = bytearray()
        if small:
            self._out.append(memoryview(small))

    def _give_tokens(self, tokens: bytearray) -> list[Call]:
        """Write tokens to the pipe; return the calls whose tokens it does not take."""
        try:
            given = os.write(self._give_token, tokens) // NUMBER.size
        except BlockingIOError:  # with many pipes, the system gives them a page each
            given = 0
        if self.tasks_left is not None:
            self.tasks_left -= given
        refused = [self.calls.popitem()[1] for _ in range(len(tokens) // NUMBER.size - given)]
        if refused:
            self.window = max(len(self.calls), 1)
        return refused[::-1]

    @property
    def unsent(self) -> bool:
        """Whether something waits until the socket takes it."""
        return bool(self._out)

    def flush(self) -> bool:
        """Send what the socket takes; True when nothing is left to send."""
        while self._out:
            try:
                sent = self.connection.send(self._out[0], NO_SIGPIPE)
            except BlockingIOError:
                return False
            except ConnectionError:  # it is dead; the fork server will tell
                self._out.clear()
                return True
            if sent < len(self._out[0]):
                self._out[0] = self._out[0][sent:]
            else:
                self._out.popleft()
                if len(self.calls) == 1:  # what is big travels alone, and its time begins when it has arrived
                    self.since = time.monotonic()
        return True

    def receive(self) -> list[Frame] | None:
        """Return the answers that are complete now; None when it closed its end."""
        try:
            frames = self._frames.read()
        except BlockingIOError:
            return []
        except ConnectionError:
            return None
        self.silent = 0
        return frames

    def receive_all(self) -> Iterator[Frame]:
        """Yield all answers that are there."""
        with contextlib.suppress(BlockingIOError, ConnectionError):
            while self.open and (frames := self._frames.read()) is not None:
                self.silent = 0
                yield from frames

    def answered(self, number: int, microseconds: int, started: float) -> Call:
        """Take note that a call is over."""
        call = self.calls[number]
        call.future.ran = (self.worker_pid, started, microseconds / 1e6, self.peak_memory)
        del self.calls[number]  # after that: somebody may ask for its execution in this very moment
        self.since = time.monotonic()
        self.initializing = False
        self.has_worked = True
        if microseconds >= SHORT:
            self.window = 2 if microseconds < MEDIUM else 1
        elif self.window < MOST_CALLS:
            self.window *= 2
        return call

    def spoke(self, pid: int, memory: int) -> None:
        """Take note of a sign of life. The first one says that it is there, and begins with its calls."""
        self.peak_memory = memory or self.peak_memory
        if not self.ready:
            self.ready = True
            self.worker_pid = pid
            self.since = time.monotonic()

    def execution(self, future: PoolFuture[Any]) -> Ran | None:
        """Return what is known of a call that runs now; None if it waits here, or is gone. For any thread."""
        for call in list(self.calls.values())[:1]:
            if call.future is future:
                return self._running_since() if self.ready else None
        return None

    def note_end(self) -> None:
        """Note of the calls that the worker has that it has ended; what it has not begun was taken back before."""
        for call in self.calls.values():
            call.future.ran = self._running_since(ended=True)

    def _running_since(self, *, ended: bool = False) -> Ran:
        pid = self.worker_pid or self.pid
        if not self.ready:
            return pid, None, None, None
        seconds = time.monotonic() - self.since
        return pid, time.time() - seconds, seconds if ended else None, self.peak_memory

    def running(self) -> Call | None:
        """Return the call that runs: the last one, when all others were answered or taken back."""
        return next(reversed(self.calls.values()), None)

    def deadline(self) -> float | None:
        """Return when the time of the call that runs is up; None if it has as long as it likes."""
        call = next(iter(self.calls.values()), None)
        return None if call is None or call.timeout is None or not self.ready else self.since + call.timeout

    def is_silent(self) -> bool:
        """Count one more look for a sign of life; True when it was one too many."""
        # It learns with its first call that there should be some.
        self.silent = self.silent + 1 if self.pid is not None and (self.calls or self.has_worked) else 0
        return self.silent > LOOKS

    def is_idle(self) -> bool:
        """Whether it has nothing to do."""
        return self.open and not self.calls

    def is_stuck(self) -> bool:
        """Whether calls wait behind a long one."""
        waiting = len(self.calls) - 1
        return waiting > 0 and time.monotonic() - self.since > (STUCK_ONE if waiting == 1 else STUCK)

    def reclaim(self, most: int = MOST_CALLS + 1) -> list[Call]:
        """Take calls back that have not begun, `most` of them, in the order in which they were given.

        What must come before all others stays: one that is initializing has nothing else.
        """
        if self.initializing or not self._pipe:
            return []
        try:
            tokens = os.read(self.tokens, NUMBER.size * most)
        except BlockingIOError:
            return []
        if not tokens:
            return []
        taken = [self.calls.pop(number) for (number,) in NUMBER.iter_unpack(tokens)]
        if self.tasks_left is not None:
            self.tasks_left += len(taken)
        self.window = 1
        return taken

    def hand_over(self) -> None:
        """Close the worker's end of the socket, which it has now. The pipe's stays, for `reclaim`."""
        with no_forks():
            self.child_end.close()

    def close(self) -> None:
        """Close all: an idle worker ends then."""
        self.open = False
        with no_forks():
            self.connection.close()
            self.child_end.close()
            while self._pipe:
                os.close(self._pipe.pop())

    def retire(self) -> None:
        """Close all, and keep only the place, until the worker is dead."""
        self.retired = True
        self.calls.clear()
        self.close()
