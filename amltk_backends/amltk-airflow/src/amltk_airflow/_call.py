"""A call as `amltk-airflow` tracks it."""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass, field

from amltk.remote import RemoteCall
from amltk_airflow._messages import Begun

_LONGEST_NAME = 60


@dataclass(eq=False)
class Call(RemoteCall):
    """A call and its future.

    Attributes:
        session: The session of the executor.
        number: Unique in the session.
        attempt: The number of the current attempt; above 1 if tasks of Airflow failed before the call began.
        sent: Whether the call is in the store.
        asked: Whether a run has been requested from Airflow, with or without an answer.
        accepted: When Airflow accepted the run; None before.
        begun: The process that has begun the call.
        gone: Since when Airflow has no active run for the call.
        ending: Since when the call is cancelled.
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
        """The name of this attempt's objects in the store."""
        return f"{self.number}-{self.attempt}"

    @property
    def ids(self) -> list[str]:
        """The ids of all attempts."""
        return [f"{self.number}-{attempt + 1}" for attempt in range(self.attempt)]

    @property
    def run_id(self) -> str:
        """The id of its run; Airflow's pages show it, so it begins with the function's name."""
        name = re.sub(r"[^A-Za-z0-9_.]+", "_", self.name).strip("_")[:_LONGEST_NAME]
        return f"{name or 'call'}-{self.session}-{self.id}"

    def try_again(self) -> None:
        """Start another attempt."""
        self.attempt += 1
        self.sent = self.asked = False
        self.accepted = self.gone = None
