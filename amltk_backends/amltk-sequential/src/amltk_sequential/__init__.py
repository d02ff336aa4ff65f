"""A backend of amltk: runs one call after the other, in the thread that submits them."""

from __future__ import annotations

from amltk_sequential.executor import SequentialExecutor

__all__ = ["SequentialExecutor"]
