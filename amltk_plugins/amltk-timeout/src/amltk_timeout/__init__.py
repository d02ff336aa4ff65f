"""A task plugin of amltk: limits the time of each call of a task."""

from __future__ import annotations

from amltk_timeout.timeout import Timeout

__all__ = ["Timeout"]
