"""The calls of `task.map`, which are submitted as earlier ones end."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from amltk.describe import describe_call
from amltk.user_code import calls_user_code

if TYPE_CHECKING:
    from amltk.scheduling.run_calls import RunCalls
    from amltk.scheduling.task import Task

logger = logging.getLogger("amltk")

MOST_NAMED = 10
"""The number of skipped items that warnings name; the others are counted."""
MOST_IN_A_ROW = 1000
"""The number of items skipped in a row after which the map ends: an endless iterable would never end."""


class MapFeeder:
    """The calls of one `task.map` that are not submitted yet."""

    def __init__(self, task: Task[..., Any], calls: Iterator[tuple[Any, ...]], buffersize: int) -> None:
        """Take the arguments of each call from `calls`."""
        self.task = task
        self._calls = calls
        self._buffersize = buffersize
        self._refused: tuple[Any, ...] | None = None
        self._left_out = 0
        self._in_a_row = 0

    @calls_user_code
    def submit(self, run: RunCalls) -> bool:
        """Submit calls until `buffersize` are under way, or one is refused.

        A refused call is kept and submitted again next time, if any call is under way. Otherwise a warning
        names it, and the next item follows next time, which leaves the loop time for other work and Ctrl-C.

        Returns:
            Whether more calls may follow.

        Raises:
            Exception: An iterable, or submitting, raises.
        """
        while run.accepting and self.task.n_running < self._buffersize:
            args = self._refused if self._refused is not None else next(self._calls, None)
            self._refused = None
            if args is None:
                if self._left_out > MOST_NAMED:
                    msg = "The map of %r left out %d items in all, as above; the first %d are named there."
                    logger.warning(msg, self.task, self._left_out, MOST_NAMED)
                return False
            if self.task.submit(*args) is None:
                if run.waiting:
                    self._refused = args
                    return True
                return run.accepting and self._leave_out(args)
            self._in_a_row = 0
        return run.accepting

    def _leave_out(self, args: tuple[Any, ...]) -> bool:
        """Warn of a call that nothing would submit again; return whether the map continues."""
        self._left_out += 1
        self._in_a_row += 1
        if self._left_out <= MOST_NAMED:
            refusal = self.task.refusal
            reason = "" if refusal is None else f" ({refusal.reason})"
            logger.warning(
                "The map of %r leaves out %s: %s refused it%s while no call was under way, so nothing would have it "
                "offered again.",
                self.task, describe_call(self.task.function, args, {}), type(self.task.refused_by).__name__, reason,
            )  # fmt: skip
        if self._in_a_row < MOST_IN_A_ROW:
            return True
        logger.warning(
            "The map of %r ends early: %d items in a row were refused while no call was under way, the first %d are "
            "named above. The items after them are not tried.",
            self.task, MOST_IN_A_ROW, MOST_NAMED,
        )  # fmt: skip
        return False
