"""A job, as the supervisor knows it."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import NamedTuple


class Ending(NamedTuple):
    """How a job ended.

    Attributes:
        words: The batch system's; "" if it has none.
        log: The end of what the job wrote.
    """

    words: str
    log: str


@dataclass(eq=False)
class Job:
    """A job of ours.

    Attributes:
        name: Of its worker, as dask knows it; with a number behind it if it has several.
        id: The batch system's.
        script: The name of the file that was submitted.
        since: When it was submitted, or lost its last worker, by the monotonic clock.
        waiting: Whether it has not been started, as far as is known.
        words: What the batch system said of it last.
        stuck: Whether it will wait for ever.
        missing: How often in a row the batch system did not know it.
        workers: Addresses of those that are connected.
        nannies: Addresses of what starts them; others when the job has been started again.
        arrived: Whether one ever was.
        silent: Whether one of them gives no sign of life.
        ending: How it ended, once that is known.
        cancelled: Whether we have it cancelled.
        cancelling: Whether a command that cancels it runs.
        refusal: Why the last such command failed; "" if it did not.
    """

    name: str
    id: str
    script: str
    since: float = field(default_factory=time.monotonic)
    waiting: bool = True
    words: str = ""
    stuck: bool = False
    missing: int = 0
    workers: set[str] = field(default_factory=set)
    nannies: set[str] = field(default_factory=set)
    arrived: bool = False
    silent: bool = False
    ending: Ending | None = None
    cancelled: bool = False
    cancelling: bool = False
    refusal: str = ""
