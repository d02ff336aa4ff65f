"""Counts consecutive jobs that failed before they had a worker, and delays the next attempt."""

from __future__ import annotations

import logging
import time

from amltk.exceptions import BatchSystemError

_log = logging.getLogger("amltk_dask_jobqueue")

ATTEMPTS = 3
"""Consecutive jobs that may fail to be submitted, or end without a worker, before no more are submitted."""


class Attempts:
    """The attempts since the last worker connected.

    Attributes:
        last_error: The error of the last failed attempt.
    """

    def __init__(self) -> None:
        """Start without attempts."""
        self.last_error: BatchSystemError | None = None
        self._failed = 0
        self._not_before = 0.0

    def failed(self, error: BatchSystemError, *, hopeless: bool = False) -> None:
        """Count and log a failure.

        Args:
            error: The failure.
            hopeless: Whether the next attempt would fail, too.
        """
        self._failed = ATTEMPTS if hopeless else self._failed + 1
        self.last_error = error
        self._not_before = time.monotonic() + 2.0 ** (self._failed - 1) - 1.0
        _log.warning("%s", error)

    def worker_came(self) -> None:
        """Start counting from zero."""
        self._failed = 0

    @property
    def exhausted(self) -> bool:
        """Whether no more attempts are made."""
        return self._failed >= ATTEMPTS

    @property
    def too_early(self) -> bool:
        """Whether the next attempt must wait."""
        return time.monotonic() < self._not_before
