"""For all test folders."""

from __future__ import annotations

import signal


def pytest_configure() -> None:
    """Undo what a shell does to programs in its background: it lets them, and all that they start, ignore Ctrl-C."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
