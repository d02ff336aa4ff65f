"""Ctrl-C while a scheduler runs."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from amltk.scheduling.run import Run


@contextmanager
def interrupts(run: Run) -> Iterator[None]:
    """Let the first Ctrl-C end `run` in good order, and a second one break it off where it stands.

    Only in the main thread, where signals arrive, and only if the program has no handler of its own.
    """
    in_main_thread = threading.current_thread() is threading.main_thread()
    if not in_main_thread or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield
        return
    pressed = False

    def handle(_signal: int, _frame: FrameType | None) -> None:
        nonlocal pressed
        if pressed:
            raise KeyboardInterrupt
        pressed = True
        run.interrupt(KeyboardInterrupt())

    signal.signal(signal.SIGINT, handle)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
