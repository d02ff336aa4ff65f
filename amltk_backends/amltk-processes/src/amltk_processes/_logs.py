"""What workers log, in the main process: handled by the loggers of the same names, in a thread of its own.

    worker: LogSender ──frames──> dispatcher ──queue──> LogReceiver's thread ──> loggers and their handlers

So a handler may take long, raise, or submit calls, and no result waits for it. What comes faster
than handlers take it is dropped in the end, and counted.
"""

from __future__ import annotations

import logging
import queue
import threading
from typing import NamedTuple

from amltk_processes._pickling import loads
from amltk_processes._worker_logs import Levels

# How many records may wait for their handlers.
MOST_WAITING = 10_000
# Seconds that a shutdown waits for handlers.
PATIENCE = 5.0

_log = logging.getLogger("amltk_processes")


def levels() -> Levels:
    """Return what loggers log, as numbers of no class of the user's."""
    known = list(logging.root.manager.loggerDict.items())
    own = {str(name): int(each.level) for name, each in known if isinstance(each, logging.Logger) and each.level}
    return int(logging.root.level), int(logging.root.manager.disable), own


class _Received(NamedTuple):
    data: bytes
    call: str


class LogReceiver:
    """Has records handled, in the order in which they came."""

    def __init__(self) -> None:
        """Start nothing; the first record does."""
        self._queue: queue.SimpleQueue[_Received | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._dropped = 0

    def put(self, data: bytes, call: str) -> None:
        """Have a record handled, soon; called by one thread only, which does not wait for it.

        Args:
            data: The record, as the worker has sent it.
            call: The name of the function that it runs; empty if it runs none.
        """
        if self._thread is None:
            thread = threading.Thread(target=self._run, name="amltk-processes-logs", daemon=True)
            try:
                thread.start()
            except RuntimeError:  # the system has no thread to give
                self._dropped += 1
                return
            self._thread = thread
        if self._queue.qsize() < MOST_WAITING:
            self._queue.put(_Received(data, call))
        else:
            self._dropped += 1

    def close(self) -> None:
        """Take no more records; those that are there are still handled."""
        self._queue.put(None)

    def join(self) -> None:
        """Wait for handlers, though not for ever, nor when called by one of them."""
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(PATIENCE)

    def _run(self) -> None:
        while (received := self._queue.get()) is not None:
            try:
                _handle(received)
            except BaseException:  # as logging does with what handlers raise
                logging.Handler().handleError(logging.makeLogRecord({"msg": "a record of a worker", "args": None}))
            if self._queue.empty():
                self._tell_of_dropped()
        self._tell_of_dropped()  # the end may have come when records still waited

    def _tell_of_dropped(self) -> None:
        dropped, self._dropped = self._dropped, 0
        if dropped:
            _log.warning("%d log records of workers were dropped: handlers are too slow for them.", dropped)


def _handle(received: _Received) -> None:
    record = logging.makeLogRecord(loads(received.data))
    if record.processName == "MainProcess":  # so it calls itself as long as it has not imported `multiprocessing`
        record.processName = f"worker-{record.process}"
    record.call = received.call
    logger = logging.getLogger(record.name)
    if logger.isEnabledFor(record.levelno):
        logger.handle(record)
