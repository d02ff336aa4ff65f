"""Attempts to have a job with a worker: how many in a row have failed, and when the next one may be made."""

from __future__ import annotations

import logging
import time

from amltk.exceptions import BatchSystemError

_log = logging.getLogger("amltk_dask_jobqueue")

ATTEMPTS = 3
"""So many jobs in a row may end before they have a worker, or not be taken, until no more are submitted."""


class Attempts:
    """The attempts since the last worker came.

    Attributes:
        last_error: Why the last one that failed did so.
    """

    def __init__(self) -> None:
        """Begin without any."""
        self.last_error: BatchSystemError | None = None
        self._failed = 0
        self._not_before = 0.0

    def failed(self, error: BatchSystemError, *, hopeless: bool = False) -> None:
        """Take note of a failure, and say so.

        Args:
            error: Why.
            hopeless: Whether the next attempt would fail, too.
        """
        self._failed = ATTEMPTS if hopeless else self._failed + 1
        self.last_error = error
        self._not_before = time.monotonic() + 2.0 ** (self._failed - 1) - 1.0
        _log.warning("%s", error)

    def worker_came(self) -> None:
        """Begin anew."""
        self._failed = 0

    @property
    def exhausted(self) -> bool:
        """Whether no other attempt is made."""
        return self._failed >= ATTEMPTS

    @property
    def too_early(self) -> bool:
        """Whether the next attempt has to wait."""
        return time.monotonic() < self._not_before
