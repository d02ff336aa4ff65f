"""The error of a pool that can't go on; a module of its own, for its base takes 20 ms to import.

Who needs it imports it then: the user who names it, or a pool that breaks.
"""

from __future__ import annotations

from concurrent.futures import process

from amltk.exceptions import AmltkError


class BrokenProcessPool(AmltkError, process.BrokenProcessPool):  # noqa: N818 - the field's name for it
    """The pool can't go on: its initializer failed, or no process can be started. The cause is chained."""
