"""A call on its way to a worker."""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass, field

from amltk.remote import RemoteCall
from amltk_airflow._messages import Begun

_LONGEST_NAME = 60


@dataclass(eq=False)
class Call(RemoteCall):
    """A call and the future that waits for it.

    Attributes:
        session: Of which it is one.
        number: Tells it from every other call of the session.
        attempt: Of which Airflow is asked to run it: more than one where its tasks fail before the call has begun.
        sent: Whether it lies in the store.
        asked: Whether Airflow has been asked to run it, with or without an answer.
        accepted: When Airflow has said that it will; None before.
        begun: Which process has taken it up.
        gone: Since when Airflow has no active run for it.
        ending: Since when nobody wants it any more.
    """

    session: str
    number: int = field(default_factory=itertools.count(1).__next__)
    attempt: int = 1
    sent: bool = False
    asked: bool = False
    accepted: float | None = None
    begun: Begun | None = None
    gone: float | None = None
    ending: float | None = None

    @property
    def id(self) -> str:
        """What the objects of this attempt in the store are called."""
        return f"{self.number}-{self.attempt}"

    @property
    def ids(self) -> list[str]:
        """The same of all attempts."""
        return [f"{self.number}-{attempt + 1}" for attempt in range(self.attempt)]

    @property
    def run_id(self) -> str:
        """The id of its run: what Airflow's pages show, so it begins with the function's name."""
        name = re.sub(r"[^A-Za-z0-9_.]+", "_", self.name).strip("_")[:_LONGEST_NAME]
        return f"{name or 'call'}-{self.session}-{self.id}"

    def try_again(self) -> None:
        """Have another attempt, of which nothing has been done yet."""
        self.attempt += 1
        self.sent = self.asked = False
        self.accepted = self.gone = None
