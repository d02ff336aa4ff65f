"""Ctrl-C while a scheduler runs."""

from __future__ import annotations

import functools
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
    before = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not _is_pythons_own(before):
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
        signal.signal(signal.SIGINT, before)


def _is_pythons_own(handler: object) -> bool:
    """Say whether nobody but the interpreter, or `asyncio.run`, has set the handler."""
    function = handler.func if isinstance(handler, functools.partial) else handler
    return handler is signal.default_int_handler or getattr(function, "__module__", None) == "asyncio.runners"
