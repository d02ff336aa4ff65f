"""A task plugin of amltk: runs calls again whose worker died, or that failed for another reason that one names."""

from __future__ import annotations

from amltk_retry.history import Attempt
from amltk_retry.retry import Retry

__all__ = ["Attempt", "Retry"]
