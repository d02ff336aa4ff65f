"""What cannot run any more when the main thread of the program has ended.

Python ends when all threads but daemons have: a run in another thread outlives the main thread. But when that ends,
`concurrent.futures` lets its threads and processes take no more calls, and so does what builds on it.
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
    """Say whether the program only waits for its other threads to end."""
    # Both: where Python is embedded, its first thread may end long before the program does.
    return not threading.main_thread().is_alive() and getattr(threading, "_SHUTTING_DOWN", True)


def check_main_thread(label: str, cause: BaseException | None = None) -> None:
    """Refuse to run calls in what needs the main thread.

    Args:
        label: What it is, for people.
        cause: What was raised as it was opened.

    Raises:
        NotSupportedError: The main thread has ended.
    """
    if main_thread_has_ended():
        msg = f"{label} cannot run calls: {_HELP}"
        raise NotSupportedError(msg) from cause


def explain(error: BaseException) -> None:
    """Add why an executor takes no calls to what it raised, if that is for the end of the main thread."""
    if main_thread_has_ended() and isinstance(error, (RuntimeError, WorkerDied)) and "shutdown" in text_of(error):
        add_note(error, f"Note that {_HELP}")
