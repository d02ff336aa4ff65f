"""The worker's side of logging: the handler of its root logger sends records to the main process (see `_logs`)."""

from __future__ import annotations

import functools
import logging
import time
from collections.abc import Mapping

from amltk_processes._frames import LOG, FrameWriter, pack
from amltk_processes._pickling import dumps_result

TYPE_CHECKING = False  # each start would wait for `typing` to be imported
if TYPE_CHECKING:
    from typing import Any

# The most records that a worker sends in a second, and the size of a record, in characters and in bytes.
MOST_RECORDS = 1000
MOST_TEXT = 1 << 15
MOST_BYTES = 1 << 17

# The root logger's level, that of `logging.disable`, and those that other loggers have of their own.
Levels = tuple[int, int, Mapping[str, int]]

_formatter = logging.Formatter()


class LogSender(logging.Handler):
    """Sends log records and warnings to the main process, up to `MOST_RECORDS` a second.

    Attributes:
        number: The number of the call that runs.
    """

    def __init__(self, writer: FrameWriter) -> None:
        """Send nothing yet."""
        super().__init__()
        self.number = 0
        self._writer: FrameWriter | None = writer
        self._since = 0.0
        self._sent = self._dropped = 0

    def install(self, levels: Levels) -> None:
        """Become the root logger's handler, until a call configures logging itself.

        Args:
            levels: The levels of the main process's loggers (see `_logs.levels`), so that no unwanted record is made.
        """
        root, disabled, named = levels
        for logger in (logging.root, *logging.root.manager.loggerDict.values()):
            if isinstance(logger, logging.Logger):  # a fork has handlers of the main process
                logger.handlers.clear()
                logger.propagate = True
        for name, level in named.items():
            logging.getLogger(name).level = level  # not `setLevel`, which goes through all loggers
        logging.root.setLevel(root)
        logging.disable(disabled)
        logging.root.addHandler(self)
        logging.captureWarnings(capture=True)
        basic_config = logging.basicConfig

        @functools.wraps(basic_config)
        def configure(**kwargs: Any) -> None:
            if logging.root.handlers == [self]:
                logging.root.removeHandler(self)  # or `basicConfig` would do nothing
            basic_config(**kwargs)

        logging.basicConfig = configure

    def forget(self) -> None:
        """Send no more records: this process is a fork of the worker."""
        self._writer = None

    def emit(self, record: logging.LogRecord) -> None:
        """Send a record, unless too many were sent in this second."""
        try:
            if not self._has_sent(record) and logging.lastResort and record.levelno >= logging.lastResort.level:
                logging.lastResort.handle(record)
        except Exception:  # a bad record must not fail the call
            self.handleError(record)

    def _has_sent(self, record: logging.LogRecord) -> bool:
        now = time.monotonic()
        if now - self._since >= 1:
            self.report_dropped()
            self._since, self._sent = now, 0
        self._sent += 1
        if self._sent <= MOST_RECORDS:
            return self._send(record)
        self._dropped += 1
        return True

    def report_dropped(self) -> None:
        """Log how many records were dropped, if any were."""
        dropped, self._dropped = self._dropped, 0
        if dropped:
            text = f"{dropped} log records were dropped: a worker may send {MOST_RECORDS} a second."
            record = logging.LogRecord("amltk_processes", logging.WARNING, __file__, 0, text, None, None)
            self._send(record)

    def _send(self, record: logging.LogRecord) -> bool:
        if self._writer is None:
            return False
        try:
            self._writer.send(pack(LOG, self.number, 0, _pickled(record)))
        except OSError:  # the main process has closed the connection, or is gone
            return False
        return True


def _pickled(record: logging.LogRecord) -> bytes:
    fields: dict[str, Any] = dict(vars(record))
    fields |= {"msg": _short(record.getMessage()), "args": None, "exc_info": None}
    if record.exc_info and not record.exc_text:
        fields["exc_text"] = _formatter.formatException(record.exc_info)
    for text in ("exc_text", "stack_info"):
        fields[text] = fields[text] and _short(fields[text])
    fields.pop("message", None)
    data = _dumps(fields)
    if len(data) > MOST_BYTES:  # because of attributes that were added
        kept = vars(logging.makeLogRecord({})).keys()
        data = _dumps({name: value for name, value in fields.items() if name in kept})
    return data


def _dumps(fields: dict[str, Any]) -> bytes:
    try:
        return dumps_result(fields)
    except Exception:
        return dumps_result({name: value if _can_be_sent(value) else repr(value) for name, value in fields.items()})


def _can_be_sent(value: object) -> bool:
    try:
        dumps_result(value)
    except Exception:
        return False
    return True


def _short(text: str) -> str:
    return text if len(text) <= MOST_TEXT else f"{text[:MOST_TEXT]}... ({len(text) - MOST_TEXT} more characters)"
