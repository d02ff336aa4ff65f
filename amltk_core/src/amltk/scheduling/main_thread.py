"""Errors of executors that refuse calls after the main thread of the program has ended.

A program ends after all of its threads but daemons, so a run in another thread outlives the main thread. But then
`concurrent.futures` refuses new calls, and so do executors that build on it.
"""

from __future__ import annotations

import threading

from amltk.exceptions import NotSupportedError, WorkerDied, add_note, text_of

_HELP = (
    "the main thread of the program has ended, and Python then lets the threads and processes of concurrent.futures "
    "take no more calls. Keep the main thread until the run is over: thread = Thread(target=scheduler.run); "
    "thread.start(); thread.join(). Scheduler.with_processes() and with_sequential() run without it."
)


def main_thread_has_ended() -> bool:
    """Return whether the main thread has ended, and the program waits for its other threads."""
    # Both: where Python is embedded, its first thread may end long before the program does.
    return not threading.main_thread().is_alive() and getattr(threading, "_SHUTTING_DOWN", True)


def check_main_thread(label: str, cause: BaseException | None = None) -> None:
    """Check that the main thread has not ended.

    Args:
        label: The description of the executor, for the message.
        cause: The exception of opening it.

    Raises:
        NotSupportedError: The main thread has ended.
    """
    if main_thread_has_ended():
        msg = f"{label} cannot run calls: {_HELP}"
        raise NotSupportedError(msg) from cause


def explain(error: BaseException) -> None:
    """Add a note to the exception of an executor that refuses calls because the main thread has ended."""
    if main_thread_has_ended() and isinstance(error, (RuntimeError, WorkerDied)) and "shutdown" in text_of(error):
        add_note(error, f"Note that {_HELP}")
