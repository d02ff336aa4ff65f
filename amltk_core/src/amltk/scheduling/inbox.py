"""The one crossing between threads: what others hand over to the thread of a run's loop.

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
"""How long results are delivered in one go before the loop's other work gets its turn."""
BRISK_SECONDS = 0.001
"""Results that come so soon after one another are awaited at the inbox, without a trip through the selector."""
LINGER_SECONDS = 0.005
"""How long that is done in vain before the loop sleeps again. Not shorter: arming a timer that is due before the
kernel's next tick costs more than all that is saved."""


class Inbox:
    """Takes what comes from other threads, and deals with it in the loop's thread."""

    def __init__(self, waiting: Sized, deliver: Callable[[Future[Any]], None]) -> None:
        """Be for the futures in `waiting`, which `deliver` takes out."""
        self.thread = 0
        self._waiting = waiting
        self._deliver = deliver
        self._sources: SimpleQueue[Future[Any]] = SimpleQueue()
        self._orders: deque[Callable[[], None]] = deque()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._context: Context | None = None
        self._woken = False
        self._rested = 0.0
        self._from_afar = False
        self._is_open = False

    def belong_to(self, loop: asyncio.AbstractEventLoop) -> None:
        """Belong to `loop`, which is running in this thread, and deliver in the context variables of now."""
        self.thread = threading.get_ident()
        self._context = copy_context()
        self._loop = loop

    def open(self) -> None:
        """Carry out what was ordered so far, and from now on what is."""
        self._is_open = True
        self._carry_out()

    @property
    def is_empty(self) -> bool:
        """Whether all that has arrived has been delivered."""
        return self._sources.empty()

    def arrived(self, source: Future[Any]) -> None:
        """Note that a call has ended; in whatever thread the executor says so."""
        self._sources.put(source)
        self._from_afar = threading.get_ident() != self.thread
        if not self._woken:
            self._woken = True
            self._wake(self.deliver)

    def deliver(self) -> None:
        """Deliver what has arrived, for a while; in the loop's thread."""
        assert self._loop is not None
        sources = self._sources
        now = monotonic()
        until = now + SLICE_SECONDS
        # An executor in the loop's own thread brings nothing while that waits.
        brisk = self._from_afar and now - self._rested < BRISK_SECONDS
        while True:
            try:
                source = sources.get(brisk and bool(self._waiting), LINGER_SECONDS)
            except Empty:
                brisk = False
                self._woken = False
                self._rested = monotonic()
                if sources.empty():  # else one came before the flag was down, and nobody would wake us for it
                    return
                self._woken = True
                continue
            self._deliver(source)
            if monotonic() > until:
                self._loop.call_soon(self.deliver)
                return

    def do(self, function: Callable[..., None], *args: Any) -> None:
        """Call `function` in the thread of the loop: now, or as soon as it can be."""
        if threading.get_ident() == self.thread:
            function(*args)
            self._wake(_nothing)  # this may be a signal handler, in a loop that sleeps
        else:
            self.order(function, *args)

    def order(self, function: Callable[..., object], *args: Any) -> None:
        """Have `function` called in a turn of the loop; before the inbox is open, when it is opened."""
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
    """Make the loop look at what has changed."""
