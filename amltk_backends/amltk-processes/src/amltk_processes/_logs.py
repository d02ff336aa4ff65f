"""The main process's side of logging: a thread passes log records of workers to the loggers of the same names.

    worker: LogSender ──frames──> dispatcher ──queue──> LogReceiver's thread ──> loggers and their handlers

So a handler may take long, raise, or submit calls, and delays no result. If records arrive faster than
handlers take them for long, some are dropped and counted.
"""

from __future__ import annotations

import logging
import queue
import threading
from typing import NamedTuple

from amltk_processes._pickling import loads
from amltk_processes._worker_logs import Levels

# The most records that wait for handlers.
MOST_WAITING = 10_000
# Seconds that a shutdown waits for handlers.
PATIENCE = 5.0

_log = logging.getLogger("amltk_processes")


def levels() -> Levels:
    """Return the levels of all loggers, as plain ints and strings."""
    known = list(logging.root.manager.loggerDict.items())
    own = {str(name): int(each.level) for name, each in known if isinstance(each, logging.Logger) and each.level}
    return int(logging.root.level), int(logging.root.manager.disable), own


class _Received(NamedTuple):
    data: bytes
    call: str


class LogReceiver:
    """Handles records in the order in which they arrive."""

    def __init__(self) -> None:
        """Start nothing; the first record does."""
        self._queue: queue.SimpleQueue[_Received | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._dropped = 0

    def put(self, data: bytes, call: str) -> None:
        """Queue a record and return; only one thread may call this.

        Args:
            data: The record, as the worker has sent it.
            call: The name of the function that the worker runs; empty if it runs none.
        """
        if self._thread is None:
            thread = threading.Thread(target=self._run, name="amltk-processes-logs", daemon=True)
            try:
                thread.start()
            except RuntimeError:  # the system gives no thread
                self._dropped += 1
                return
            self._thread = thread
        if self._queue.qsize() < MOST_WAITING:
            self._queue.put(_Received(data, call))
        else:
            self._dropped += 1

    def close(self) -> None:
        """Accept no more records; those that wait are still handled."""
        self._queue.put(None)

    def join(self) -> None:
        """Wait for handlers, for `PATIENCE` seconds at most; return at once if a handler calls this."""
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(PATIENCE)

    def _run(self) -> None:
        while (received := self._queue.get()) is not None:
            try:
                _handle(received)
            except BaseException:  # as logging does with exceptions of handlers
                logging.Handler().handleError(logging.makeLogRecord({"msg": "a record of a worker", "args": None}))
            if self._queue.empty():
                self._tell_of_dropped()
        self._tell_of_dropped()  # records may have waited when the end came

    def _tell_of_dropped(self) -> None:
        dropped, self._dropped = self._dropped, 0
        if dropped:
            _log.warning("%d log records of workers were dropped: handlers are too slow for them.", dropped)


def _handle(received: _Received) -> None:
    record = logging.makeLogRecord(loads(received.data))
    if record.processName == "MainProcess":  # the name in a worker that has not imported `multiprocessing`
        record.processName = f"worker-{record.process}"
    record.call = received.call
    logger = logging.getLogger(record.name)
    if logger.isEnabledFor(record.levelno):
        logger.handle(record)
