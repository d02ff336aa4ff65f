"""The error of a broken pool.

It has a module of its own because its base class takes 20 ms to import. It is loaded when the user names it or a pool
breaks.
"""

from __future__ import annotations

from concurrent.futures import process

from amltk.exceptions import AmltkError


class BrokenProcessPool(AmltkError, process.BrokenProcessPool):  # noqa: N818 - the field's name for it
    """The pool can't go on: its initializer failed, or no process can be started. The cause is chained."""
