"""A task plugin of amltk: limits how long each call of a task may take."""

from __future__ import annotations

from amltk_timeout.timeout import Timeout

__all__ = ["Timeout"]
