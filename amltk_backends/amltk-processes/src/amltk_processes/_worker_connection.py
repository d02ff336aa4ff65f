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

# Microseconds. Behind a call that takes less, one other is sent ahead, so that the worker waits for no round trip.
MEDIUM = 50_000
# The most calls that a worker may have, including the running one.
MOST_CALLS = 256
# Seconds to sleep at most: selectors take no more than 24 days, and `time.sleep` no more than some hundred years.
LONGEST = 86_400.0
# How many times within `heartbeat_timeout` the pool looks for signs of life.
LOOKS = 5
# Seconds after which a running call is no longer short, and no longer medium.
STUCK, STUCK_ONE = 0.01, 0.1


class WorkerConnection:
    """The connection to one worker. Nothing here blocks.

    Attributes:
        pid: The worker's process id, from the fork server; None while the worker is being started.
        calls: The worker's calls by number, in the order in which it will run them.
        window: The most calls that it may have: doubled by each short call, 2 after a medium and 1 after a long one.
        initializing: It has not answered its first call yet, the initializer.
        has_worked: It has answered a call.
        open: Both ends are open, as far as known.
        ready: It has sent its first sign of life.
        worker_pid: The process id that the worker itself has sent, at times before `pid` is known.
        peak_memory: The most bytes that it has held, as last reported.
        silent: How many looks in a row have found no sign of life.
        retired: It is being ended, and only keeps its place.
        since: Since when the first of its calls may be running, by the monotonic clock.
        tasks_left: How many more calls it may get before another worker replaces it; None is no limit.
    """

    def __init__(self, max_tasks: int | None) -> None:
        """Make the socket and the pipe; `child_end` and `tokens` are for the worker."""
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
        """Return how many calls it takes now; 0 while its window is more than half full, so calls go in batches."""
        if not self.open or len(self.calls) > self.window // 2:
            return 0
        free = self.window - len(self.calls)
        return free if self.tasks_left is None else min(free, self.tasks_left)

    def takes_at_once(self, call: Call) -> bool:
        """Whether an idle worker can get a call that needs no more attention until the worker answers."""
        known = call.function.number in self._functions or not call.function.number
        return known and call.timeout is None and not call.is_large() and self.free_slots() > 0

    def ask_for_beats(self, seconds: float) -> None:
        """Have the worker send a sign of life every so many seconds; call this before any call is given."""
        self._out.append(memoryview(b"".join(pack(BEAT, 0, int(seconds * 1e6), b""))))

    def prepare(self, preparation: bytes) -> None:
        """Send what a fresh interpreter reads before it becomes a worker; call this first of all."""
        self._out.append(memoryview(preparation))

    def initialize(self, call: Call) -> None:
        """Send the first call, which does not count for `tasks_left`."""
        self.initializing = True
        self.give([call])
        if self.tasks_left is not None:
            self.tasks_left += 1

    def give(self, calls: Iterable[Call]) -> list[Call]:
        """Send calls, as far as the socket takes them at once; `flush` sends the rest.

        Returns:
            The last calls, if its pipe is too full for their tokens. An idle worker gets at least one.
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
            else:  # too large to copy
                self._out += [memoryview(small), memoryview(piece)]
                small = bytearray()
        if small:
            self._out.append(memoryview(small))

    def _give_tokens(self, tokens: bytearray) -> list[Call]:
        """Write tokens to the pipe; return the calls whose tokens it does not take."""
        try:
            given = os.write(self._give_token, tokens) // NUMBER.size
        except BlockingIOError:  # a user with many pipes gets only a page for each
            given = 0
        if self.tasks_left is not None:
            self.tasks_left -= given
        refused = [self.calls.popitem()[1] for _ in range(len(tokens) // NUMBER.size - given)]
        if refused:
            self.window = max(len(self.calls), 1)
        return refused[::-1]

    @property
    def unsent(self) -> bool:
        """Whether something waits until the socket accepts it."""
        return bool(self._out)

    def flush(self) -> bool:
        """Send what the socket accepts; True when nothing is left to send."""
        while self._out:
            try:
                sent = self.connection.send(self._out[0], NO_SIGPIPE)
            except BlockingIOError:
                return False
            except ConnectionError:  # it has exited, which the fork server will report
                self._out.clear()
                return True
            if sent < len(self._out[0]):
                self._out[0] = self._out[0][sent:]
            else:
                self._out.popleft()
                if len(self.calls) == 1:  # a large call travels alone, and its time begins when it has arrived
                    self.since = time.monotonic()
        return True

    def receive(self) -> list[Frame] | None:
        """Return the answers that are complete now; None when the worker has closed its end."""
        try:
            frames = self._frames.read()
        except BlockingIOError:
            return []
        except ConnectionError:
            return None
        self.silent = 0
        return frames

    def receive_all(self) -> Iterator[Frame]:
        """Yield all answers that have arrived."""
        with contextlib.suppress(BlockingIOError, ConnectionError):
            while self.open and (frames := self._frames.read()) is not None:
                self.silent = 0
                yield from frames

    def answered(self, number: int, microseconds: int, started: float) -> Call:
        """Note that a call has ended, and return it."""
        call = self.calls[number]
        call.future.ran = (self.worker_pid, started, microseconds / 1e6, self.peak_memory)
        del self.calls[number]  # after `ran` is set: another thread may ask for its execution at this moment
        self.since = time.monotonic()
        self.initializing = False
        self.has_worked = True
        if microseconds >= SHORT:
            self.window = 2 if microseconds < MEDIUM else 1
        elif self.window < MOST_CALLS:
            self.window *= 2
        return call

    def spoke(self, pid: int, memory: int) -> None:
        """Note a sign of life. After the first one, the worker begins with its calls."""
        self.peak_memory = memory or self.peak_memory
        if not self.ready:
            self.ready = True
            self.worker_pid = pid
            self.since = time.monotonic()

    def execution(self, future: PoolFuture[Any]) -> Ran | None:
        """Return what is known of a call that runs now; None if it has not begun, or has ended. For any thread."""
        for call in list(self.calls.values())[:1]:
            if call.future is future:
                return self._running_since() if self.ready else None
        return None

    def note_end(self) -> None:
        """Note in the calls that run that the worker has ended; the others were reclaimed before."""
        for call in self.calls.values():
            call.future.ran = self._running_since(ended=True)

    def _running_since(self, *, ended: bool = False) -> Ran:
        pid = self.worker_pid or self.pid
        if not self.ready:
            return pid, None, None, None
        seconds = time.monotonic() - self.since
        return pid, time.time() - seconds, seconds if ended else None, self.peak_memory

    def running(self) -> Call | None:
        """Return the call that runs: the last one, when all others were answered or reclaimed."""
        return next(reversed(self.calls.values()), None)

    def deadline(self) -> float | None:
        """Return when the time of the call that runs is up; None if it has no limit."""
        call = next(iter(self.calls.values()), None)
        return None if call is None or call.timeout is None or not self.ready else self.since + call.timeout

    def is_silent(self) -> bool:
        """Count one more look for a sign of life; True when there were too many in vain."""
        # The worker reads with its first call that it is to send them.
        self.silent = self.silent + 1 if self.pid is not None and (self.calls or self.has_worked) else 0
        return self.silent > LOOKS

    def is_idle(self) -> bool:
        """Whether it has no call."""
        return self.open and not self.calls

    def is_stuck(self) -> bool:
        """Whether calls wait behind a long one."""
        waiting = len(self.calls) - 1
        return waiting > 0 and time.monotonic() - self.since > (STUCK_ONE if waiting == 1 else STUCK)

    def reclaim(self, most: int = MOST_CALLS + 1) -> list[Call]:
        """Take back at most `most` calls that have not begun, and return them in the order in which they were given.

        The initializer stays: a worker that is initializing has no other call.
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
        """Close the child's end of the socket, which the worker has now. The pipe's stays, for `reclaim`."""
        with no_forks():
            self.child_end.close()

    def close(self) -> None:
        """Close everything; an idle worker exits then."""
        self.open = False
        with no_forks():
            self.connection.close()
            self.child_end.close()
            while self._pipe:
                os.close(self._pipe.pop())

    def retire(self) -> None:
        """Close everything, and keep only the place until the worker has exited."""
        self.retired = True
        self.calls.clear()
        self.close()
