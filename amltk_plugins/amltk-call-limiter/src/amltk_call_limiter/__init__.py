"""A task plugin of amltk: limits a task's calls, in total and at the same time."""

from __future__ import annotations

from amltk_call_limiter.call_limiter import CallLimiter

__all__ = ["CallLimiter"]
