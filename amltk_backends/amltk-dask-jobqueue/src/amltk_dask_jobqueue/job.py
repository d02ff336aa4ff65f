"""The supervisor's record of a job."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import NamedTuple


class Ending(NamedTuple):
    """How a job ended.

    Attributes:
        words: The batch system's description; "" if it has none.
        log: The end of the job's output.
    """

    words: str
    log: str


@dataclass(eq=False)
class Job:
    """A job of this run.

    Attributes:
        name: The name of its worker in dask; with a number appended if the job has several.
        id: The batch system's id.
        script: The name of the submitted file.
        since: When it was submitted or lost its last worker, by the monotonic clock.
        waiting: Whether it has not started, as far as is known.
        words: The batch system's last description of its state.
        stuck: Whether it will wait forever.
        missing: How many times in a row the batch system did not know it.
        workers: The addresses of its connected workers.
        nannies: The addresses of their nannies; a restarted job has others.
        arrived: Whether a worker has ever connected.
        silent: Whether a worker gives no sign of life.
        ending: How it ended, once known.
        cancelled: Whether this program has cancelled it.
        cancelling: Whether a command that cancels it is running.
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
