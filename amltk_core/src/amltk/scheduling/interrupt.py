"""Signals during a run: exceptions of their handlers end the run in good order.

A handler may raise between any two instructions of the main thread, also where a call has been taken off one list and
is not yet on the next. So during a run, its exception is raised there only if that is in the user's code: a callback or
a call in this thread. Anywhere else it becomes an order to the run, which ends at once and then raises it.
"""

from __future__ import annotations

import functools
import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import TYPE_CHECKING, Any

from amltk.user_code import is_user_code

if TYPE_CHECKING:
    from amltk.scheduling.run import Run


class interrupts:  # noqa: N801 - it is used as a function; `contextlib` would assign to what passes through it
    """A context in which exceptions of signal handlers end `run` in good order.

    So does the first Ctrl-C. The second one ends the run without waiting, the third one raises on the spot.
    In threads other than the main thread, where no signals arrive, it does nothing.
    """

    def __init__(self, run: Run, *, ctrl_c: bool = True) -> None:
        """Protect `run`. Without `ctrl_c`, Python's own handlers of Ctrl-C stay."""
        self._run: Run | None = run
        self._ctrl_c = ctrl_c
        self._presses = 0
        self._installed: dict[signal.Signals, tuple[Callable[..., Any], Any]] = {}

    def __enter__(self) -> None:
        if threading.current_thread() is not threading.main_thread():
            return
        try:
            for number in sorted(signal.valid_signals()):
                before = signal.getsignal(number)
                if not callable(before):
                    continue
                if number == signal.SIGINT and _is_pythons_own(before):
                    if self._ctrl_c:
                        self._install(number, self._pressed, before)
                elif not _is_asyncios(before):  # asyncio's own handlers raise nothing
                    self._install(number, functools.partial(self._handle, before), before)
        except BaseException:
            self._restore()
            raise

    def __exit__(self, *_: object) -> None:
        self._restore()

    def _install(self, number: int, handler: Callable[..., Any], before: Any) -> None:
        self._installed[signal.Signals(number)] = handler, before
        signal.signal(number, handler)

    def _restore(self) -> None:
        self._run = None  # a handler that stays installed below that of another run acts as the one before it
        for number, (handler, before) in self._installed.items():
            if signal.getsignal(number) == handler:  # the program may have set another one meanwhile
                signal.signal(number, before)

    def _pressed(self, number: int, frame: FrameType | None) -> None:
        run = self._run
        if run is None:
            signal.default_int_handler(number, frame)
        self._presses += 1
        if self._presses == 1:
            run.interrupt(KeyboardInterrupt())
        elif self._presses > 2 or is_user_code(frame) or not run.break_off():
            raise KeyboardInterrupt

    def _handle(self, before: Callable[..., Any], number: int, frame: FrameType | None) -> None:
        try:
            before(number, frame)
        except BaseException as error:
            run = self._run
            if run is None or is_user_code(frame):
                raise
            run.interrupt(error)


def _is_pythons_own(handler: object) -> bool:
    """Return whether the interpreter or `asyncio.run` has set the handler."""
    return handler is signal.default_int_handler or _module_of(handler) == "asyncio.runners"


def _is_asyncios(handler: object) -> bool:
    return _module_of(handler).startswith("asyncio.")


def _module_of(handler: object) -> str:
    function = handler.func if isinstance(handler, functools.partial) else handler
    return str(getattr(function, "__module__", None))
