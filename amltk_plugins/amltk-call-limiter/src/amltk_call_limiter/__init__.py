"""A task plugin of amltk: limits how often a task is called, and how many of its calls are under way."""

from __future__ import annotations

from amltk_call_limiter.call_limiter import CallLimiter

__all__ = ["CallLimiter"]
