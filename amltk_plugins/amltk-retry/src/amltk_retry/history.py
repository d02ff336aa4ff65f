"""What is remembered of a call that is run again."""

from __future__ import annotations

import textwrap
import traceback
from datetime import datetime
from typing import NamedTuple

from amltk.exceptions import WorkerDied, add_note, text_of


class Attempt(NamedTuple):
    """An attempt at a call that failed.

    Of its exception it keeps the text alone: the object would keep alive whatever its traceback refers to.

    Attributes:
        number: Which one it was; the first is 1.
        ended: When it had failed, in local time.
        kind: The class of its exception.
        text: What the exception says, on one line, cut where it is long.
        pid: The process that it ran in, where the exception tells.
    """

    number: int
    ended: datetime
    kind: type[BaseException]
    text: str
    pid: int | None

    def __str__(self) -> str:
        process = "" if self.pid is None else f" in process {self.pid}"
        return f"attempt {self.number}, failed {self.ended:%Y-%m-%d %H:%M:%S}{process}: {self.text}"


class History:
    """The attempts at one call that failed.

    Attributes:
        attempts: All of them, in their order.
        is_told: Whether the exception of the last one has got a note with the history.
    """

    def __init__(self) -> None:
        """Begin without any."""
        self.attempts: list[Attempt] = []
        self.is_told = False

    @property
    def deaths(self) -> int:
        """How many workers died."""
        return sum(issubclass(each.kind, WorkerDied) for each in self.attempts)

    def add(self, error: BaseException) -> None:
        """Remember an attempt that failed with `error` just now."""
        try:
            text = traceback.format_exception_only(error)[0]
        except Exception:  # a class that hides its notes, say
            text = f"{type(error).__qualname__}: {text_of(error)}"
        pid = getattr(error, "pid", None)
        self.attempts.append(
            Attempt(
                number=len(self.attempts) + 1,
                ended=datetime.now().astimezone(),
                kind=type(error),
                text=textwrap.shorten(text[:1000], 300, placeholder=" ..."),
                pid=pid if isinstance(pid, int) else None,
            )
        )
        self.is_told = False

    def tell(self, error: BaseException) -> None:
        """Note the history on the exception of the last attempt."""
        if len(self.attempts) > 1:
            lines = "".join(f"\n  {each}" for each in self.attempts)
            add_note(error, f"It was tried {len(self.attempts)} times:{lines}")
        self.is_told = True
