"""Log records and warnings of a call: its process sends them, its parent handles them.

    the process of the call                      its parent
      root logger: RecordSender  ──frames──>       the logger of that name, with its handlers
      warnings.showwarning       ──frames──>       warnings.warn_explicit

So they arrive as without limits: by the handlers of the program, or by those of a worker, which forward them.
"""

from __future__ import annotations

import functools
import logging
import sys
import warnings
from types import FrameType
from typing import Any, NamedTuple, TextIO

from amltk_pynisher._pickling import dumps
from amltk_pynisher._pipe import RECORD, WARNING, FrameSender

_formatter = logging.Formatter()


class _Warning(NamedTuple):
    message: Warning | str
    category: type[Warning]
    filename: str
    lineno: int
    module: str | None
    line: str | None
    # Whether it passed the filters that the parent has, too.
    filtered_there: bool


class RecordSender(logging.Handler):
    """Sends each record and each warning. The only handler in the process of a call."""

    def __init__(self, frames: FrameSender) -> None:
        """Prepare; `install` starts it."""
        super().__init__()
        self._frames = frames
        self._handlers: list[logging.Handler] = []
        self._filters: list[Any] = []
        self._showwarning = warnings.showwarning

    def install(self, *, gives_way: bool) -> None:
        """Become the root logger's only handler, and the receiver of warnings.

        Args:
            gives_way: Whether `logging.basicConfig` replaces it, because the parent has no handler either.
        """
        for logger in (logging.root, *logging.root.manager.loggerDict.values()):
            if isinstance(logger, logging.Logger):  # a fork has its parent's handlers
                self._handlers += logger.handlers  # kept alive: they must not flush their buffers here
                logger.handlers.clear()
                logger.propagate = True
        logging.root.addHandler(self)
        self._filters = list(warnings.filters)
        warnings.showwarning = self._send_warning
        if gives_way:
            basic_config = logging.basicConfig

            @functools.wraps(basic_config)
            def configure(**kwargs: Any) -> None:
                if logging.root.handlers == [self]:
                    logging.root.removeHandler(self)  # else basicConfig does nothing
                basic_config(**kwargs)

            logging.basicConfig = configure

    def emit(self, record: logging.LogRecord) -> None:
        """Send a record."""
        try:
            self._frames.send(RECORD, _dump_record(record))
        except OSError:
            if logging.lastResort and record.levelno >= logging.lastResort.level:
                logging.lastResort.handle(record)
        except Exception:  # a bad record must not fail the call
            self.handleError(record)

    def _send_warning(
        self,
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        if file is None:
            module = _module_of(sys._getframe(1), filename, lineno)
            sent = _Warning(message, category, filename, lineno, module, line, list(warnings.filters) == self._filters)
            try:
                self._frames.send(WARNING, _dump_warning(sent))
            except OSError:
                pass
            else:
                return
        self._showwarning(message, category, filename, lineno, file, line)


def gives_way() -> bool:
    """Return whether `logging.basicConfig` would configure the root logger of this process.

    amltk-processes wraps `basicConfig` as this module does, so that it replaces a worker's handler.
    """
    return not logging.root.handlers or hasattr(logging.basicConfig, "__wrapped__")


def handle(kind: int, data: bytes, function: object) -> None:
    """Handle a record or a warning of a call, as if it came from this process.

    Args:
        kind: RECORD or WARNING.
        data: The pickle.
        function: The called function. If it travels by value, its globals belong to no module.
    """
    from amltk.remote import loads  # only if the call logs something

    try:
        if kind == RECORD:
            record = logging.makeLogRecord(loads(data))
            logging.getLogger(record.name).handle(record)
        else:
            _warn(_Warning(*loads(data)), getattr(function, "__globals__", {}))
    except Exception:  # as logging handles exceptions of handlers
        logging.Handler().handleError(logging.makeLogRecord({"msg": "a record of a limited call", "args": None}))


def _warn(sent: _Warning, namespace: dict[str, Any]) -> None:
    place: tuple[Any, type[Warning], str, int] = sent.message, sent.category, sent.filename, sent.lineno
    if not sent.filtered_there:
        warnings.showwarning(*place, None, sent.line)
        return
    if namespace.get("__name__") != sent.module:
        namespace = getattr(sys.modules.get(sent.module or ""), "__dict__", {})
    # The same filters pass it again. The registry here keeps what they show once, so that later forks know.
    registry = namespace.setdefault("__warningregistry__", {})
    try:
        warnings.warn_explicit(*place, sent.module, registry)
    except Warning:  # the filters have changed, and make it an error
        warnings.showwarning(*place, None, sent.line)


def _module_of(frame: FrameType | None, filename: str, lineno: int) -> str | None:
    while frame is not None:
        if frame.f_code.co_filename == filename and frame.f_lineno == lineno:
            name = frame.f_globals.get("__name__")
            return name if isinstance(name, str) else None
        frame = frame.f_back
    return None


def _dump_record(record: logging.LogRecord) -> bytes:
    fields: dict[str, Any] = dict(vars(record))
    fields |= {"msg": record.getMessage(), "args": None, "exc_info": None}
    if record.exc_info and not record.exc_text:
        fields["exc_text"] = _formatter.formatException(record.exc_info)
    fields.pop("message", None)
    try:
        return dumps(fields)
    except Exception:
        return dumps({name: value if _can_be_sent(value) else repr(value) for name, value in fields.items()})


def _dump_warning(sent: _Warning) -> bytes:
    try:
        return dumps(tuple(sent))
    except Exception:
        known = next(base for base in sent.category.__mro__ if base.__module__ == "builtins")
        return dumps(tuple(sent._replace(message=f"{sent.category.__name__}: {sent.message}", category=known)))


def _can_be_sent(value: object) -> bool:
    try:
        dumps(value)
    except Exception:
        return False
    return True
