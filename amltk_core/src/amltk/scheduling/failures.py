"""Failures of a run: one log line if the run continued, one exception if it did not."""

from __future__ import annotations

import logging
from concurrent.futures import BrokenExecutor

from amltk.exceptions import part_of

logger = logging.getLogger("amltk")

_LONGEST = 300
_OUT_OF_TIME = frozenset({"CallTimeoutError", "WallTimeoutException", "CpuTimeoutException"})
"""Exceptions of calls that exceeded a time limit; the last two are pynisher's."""
_IMPORTS = (
    ". Every call ran out of time. If a fresh worker spends it on imports, have them done before its first call: by "
    "initializer= of the backend, or by preload= of with_processes()."
)


class Failures:
    """Counts the errors of calls that `on_exception=` ignores."""

    def __init__(self) -> None:
        """Start with no failures."""
        self._kinds: dict[type[BaseException], tuple[int, str]] = {}

    def add(self, error: BaseException) -> None:
        """Count an error; keep only the text of the first one of its class."""
        count, text = self._kinds.get(type(error)) or (0, _first_line(error))
        self._kinds[type(error)] = count + 1, text

    def tell(self, calls: int) -> None:
        """Log how many of the `calls` failed, and the commonest error; as a warning if all failed."""
        if not self._kinds:
            return
        failed = sum(count for count, _ in self._kinds.values())
        kind, (count, text) = max(self._kinds.items(), key=lambda item: item[1][0])
        hint = ""
        if failed == calls and all(each.__name__ in _OUT_OF_TIME for each in self._kinds):
            text, hint = text.removesuffix("."), _IMPORTS
        logger.log(
            logging.INFO if failed < calls else logging.WARNING,
            "%d of %d call%s failed. Commonest error (%d time%s): %s%s%s",
            failed, calls, "" if calls == 1 else "s", count, "" if count == 1 else "s", kind.__qualname__,
            f": {text}" if text else "", hint,
        )  # fmt: skip


def _first_line(error: BaseException) -> str:
    try:
        text = str(error).strip().partition("\n")[0]
    except Exception:  # an exception whose own __str__ raises
        return ""
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."


def same_breakdown(error: BaseException, known: BaseException) -> bool:
    """Return whether two errors have one reason: a broken executor fails all of its calls."""
    if not isinstance(error, BrokenExecutor):
        return False
    cause = part_of(error, "__cause__")
    return cause is not None and cause is part_of(known, "__cause__")


def as_one(errors: list[BaseException]) -> BaseException:
    """Return the error, or a group of several."""
    if len(errors) == 1:
        return errors[0]
    return BaseExceptionGroup(f"{len(errors)} errors in one run of the scheduler", errors)
