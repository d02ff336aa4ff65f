"""`ExitState`: how a run ended."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


@dataclass(frozen=True)
class ExitState:
    """How a run ended; returned by `run()`.

    Attributes:
        code: Why the run ended.
        exception: The exception that ended the run, or that `stop(exception=...)` got, if any.
    """

    class Code(Enum):
        """Why a run ended."""

        EXHAUSTED = "exhausted"
        """Nothing was left to do: no call, no timer, no callback."""

        STOPPED = "stopped"
        """`stop()` was called."""

        TIMEOUT = "timeout"
        """The timeout of `run(timeout=...)` was over."""

        CANCELLED = "cancelled"
        """Ctrl-C, or the task of `async_run()` was cancelled."""

        EXCEPTION = "exception"
        """A submitted function or a callback raised, and `on_exception=` said to end."""

    code: Code
    exception: BaseException | None = None


Code = ExitState.Code
