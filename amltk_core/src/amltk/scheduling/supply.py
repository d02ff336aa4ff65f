"""What `task.map` was given: calls that are submitted as earlier ones end."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from amltk.scheduling.run import Run
    from amltk.scheduling.task import Task


class Supply:
    """The calls of a task that are still to come."""

    def __init__(self, task: Task[..., Any], calls: Iterator[tuple[Any, ...]], buffersize: int) -> None:
        """Take the arguments of each call from `calls`."""
        self.task = task
        self._calls = calls
        self._buffersize = buffersize
        self._refused: tuple[Any, ...] | None = None

    def submit(self, run: Run) -> bool:
        """Submit as many calls as there is room for.

        Returns:
            Whether there may be more to come.

        Raises:
            Exception: What an iterable raises, or what submitting does.
        """
        while run.accepting and self.task.n_running < self._buffersize:
            args = self._refused if self._refused is not None else next(self._calls, None)
            self._refused = None
            if args is None:
                return False
            if self.task.submit(*args) is None:
                # A limit is in the way, say of calls at a time. It will not be for ever, if anything is under way.
                self._refused = args
                return bool(run.waiting)
        return run.accepting
