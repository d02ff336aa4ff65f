"""A call as `amltk-loky` tracks it."""

from __future__ import annotations

from dataclasses import dataclass

from amltk.remote import RemoteCall


@dataclass(eq=False)
class Call(RemoteCall):
    """A call and its future.

    Attributes:
        moved: Whether the call was given to another worker because its first one died before it began the call.
    """

    moved: bool = False
