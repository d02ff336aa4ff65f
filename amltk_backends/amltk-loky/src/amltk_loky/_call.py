"""A call on its way to a worker."""

from __future__ import annotations

from dataclasses import dataclass

from amltk.remote import RemoteCall


@dataclass(eq=False)
class Call(RemoteCall):
    """A call and the future that waits for it.

    Attributes:
        moved: Whether a worker died before it began this call, which was then given to another one.
    """

    moved: bool = False
