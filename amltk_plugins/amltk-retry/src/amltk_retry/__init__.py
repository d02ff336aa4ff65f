"""A task plugin of amltk: repeats calls whose worker died, or that failed with a chosen exception."""

from __future__ import annotations

from amltk_retry.history import Attempt
from amltk_retry.retry import Retry

__all__ = ["Attempt", "Retry"]
