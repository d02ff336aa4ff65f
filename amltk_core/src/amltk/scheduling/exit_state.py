"""How a run ended."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


@dataclass(frozen=True)
class ExitState:
    """What `run()` returns.

    Attributes:
        code: Why the run ended.
        exception: What was raised or given to `stop(exception=...)`, if anything.
    """

    class Code(Enum):
        """Why a run ended."""

        EXHAUSTED = "exhausted"
        """Nothing was left to do: no call, no timer, no callback."""

        STOPPED = "stopped"
        """`stop()` was called."""

        TIMEOUT = "timeout"
        """The time given by `run(timeout=...)` was over."""

        CANCELLED = "cancelled"
        """It was interrupted from outside: Ctrl-C, or the task of `async_run()` was cancelled."""

        EXCEPTION = "exception"
        """A submitted function or a callback raised, and `on_exception=` said to end."""

    code: Code
    exception: BaseException | None = None


Code = ExitState.Code
