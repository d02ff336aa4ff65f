"""The failed attempts at one call."""

from __future__ import annotations

import textwrap
import traceback
from datetime import datetime
from typing import NamedTuple

from amltk.exceptions import WorkerDied, add_note, text_of


class Attempt(NamedTuple):
    """A failed attempt at a call.

    It keeps only the text of the exception: the object would keep alive all that its traceback refers to.

    Attributes:
        number: The number of the attempt, from 1.
        ended: When it failed, in local time.
        kind: The class of its exception.
        text: The exception's text, on one line, at most 300 characters.
        pid: The process that it ran in; None if the exception does not have it.
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
    """The failed attempts at one call.

    Attributes:
        attempts: The attempts, in order.
        is_told: Whether the exception of the last one has a note with the history.
    """

    def __init__(self) -> None:
        """Start without attempts."""
        self.attempts: list[Attempt] = []
        self.is_told = False

    @property
    def deaths(self) -> int:
        """The number of attempts whose worker died."""
        return sum(issubclass(each.kind, WorkerDied) for each in self.attempts)

    def add(self, error: BaseException) -> None:
        """Add an attempt that has just failed with `error`."""
        try:
            text = traceback.format_exception_only(error)[0]
        except Exception:  # for example a class that hides its notes
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
        """Add a note with the history to the exception of the last attempt."""
        if len(self.attempts) > 1:
            lines = "".join(f"\n  {each}" for each in self.attempts)
            add_note(error, f"It was tried {len(self.attempts)} times:{lines}")
        self.is_told = True
