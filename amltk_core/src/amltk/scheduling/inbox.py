"""The only crossing between threads: hands ended calls and orders over to the thread of a run.

a worker's thread ── arrived(source) ──> sources ─┐   the loop is woken once
                                                  ├── for as many as have come ──> deliver(source)
any thread, a signal ── order(function) > orders ─┘                                function()
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import deque
from collections.abc import Callable, Sized
from concurrent.futures import Future
from contextvars import Context, copy_context
from queue import Empty, SimpleQueue
from time import monotonic
from typing import Any

logger = logging.getLogger("amltk")

SLICE_SECONDS = 0.02
"""How long results are delivered at a stretch, before other work of the loop gets its turn."""
BRISK_SECONDS = 0.001
"""If results arrive within this time of each other, the inbox waits for the next one without the selector."""
LINGER_SECONDS = 0.005
"""How long the inbox waits so before the loop sleeps again. A timer that is due before the kernel's next tick would
cost more than the wait saves."""


class Inbox:
    """Receives ended calls and orders in any thread, and handles them in the loop's thread."""

    def __init__(self, waiting: Sized, deliver: Callable[[Future[Any]], None]) -> None:
        """Make an inbox for the futures in `waiting`; `deliver` removes each."""
        self.thread = 0
        self._waiting = waiting
        self._deliver = deliver
        self._sources: SimpleQueue[Future[Any]] = SimpleQueue()
        self._orders: deque[Callable[[], object]] = deque()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._context: Context | None = None
        self._woken = False
        self._rested = 0.0
        self._from_afar = False
        self._is_open = False

    def belong_to(self, loop: asyncio.AbstractEventLoop) -> None:
        """Deliver in `loop`, which runs in this thread, with the current context variables."""
        self.thread = threading.get_ident()
        self._context = copy_context()
        self._loop = loop

    def open(self) -> None:
        """Carry out the orders so far, and all later ones as they come."""
        self._is_open = True
        self._carry_out()

    @property
    def is_empty(self) -> bool:
        """Whether all that has arrived has been delivered."""
        return self._sources.empty()

    def arrived(self, source: Future[Any]) -> None:
        """Take a future that is done; in any thread."""
        self._sources.put(source)
        self._from_afar = threading.get_ident() != self.thread
        if not self._woken:
            self._woken = True
            self._wake(self.deliver)

    def deliver(self) -> None:
        """Deliver the futures that have arrived, for `SLICE_SECONDS` at most; in the loop's thread."""
        assert self._loop is not None
        sources = self._sources
        now = monotonic()
        until = now + SLICE_SECONDS
        # An executor in the loop's own thread makes no progress while the inbox waits.
        brisk = self._from_afar and now - self._rested < BRISK_SECONDS
        while True:
            try:
                source = sources.get(brisk and bool(self._waiting), LINGER_SECONDS)
            except Empty:
                brisk = False
                self._woken = False
                self._rested = monotonic()
                if sources.empty():  # else one arrived before the flag was reset, and did not wake the loop
                    return
                self._woken = True
                continue
            self._deliver(source)
            if monotonic() > until:
                self._loop.call_soon(self.deliver)
                return

    def do(self, function: Callable[..., None], *args: Any) -> None:
        """Call `function` in the thread of the loop: now if this is that thread, else in its next turn."""
        if threading.get_ident() == self.thread:
            function(*args)
            self._wake(_nothing)  # this may be a signal handler, in a loop that sleeps
        else:
            self.order(function, *args)

    def order(self, function: Callable[..., object], *args: Any) -> None:
        """Call `function` in a turn of the loop, once the inbox is open."""
        self._orders.append(lambda: function(*args))
        if self._is_open:
            self._wake(self._carry_out)

    def _carry_out(self) -> None:
        while self._orders:
            self._orders.popleft()()

    def _wake(self, function: Callable[[], None]) -> None:
        try:
            # By default, it would be the context of the thread that wakes the loop.
            self._loop.call_soon_threadsafe(function, context=self._context.copy())  # type: ignore[union-attr] # it belongs to a loop by then
        except RuntimeError:  # the loop is closed: the run is over
            logger.debug("Something came for a run that has ended.")


def _nothing() -> None:
    """Do nothing, but wake the loop."""
