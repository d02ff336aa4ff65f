"""A call on its way to a worker."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field

from amltk.remote import RemoteCall


@dataclass(eq=False)
class Call(RemoteCall):
    """A call and the future that waits for it.

    Attributes:
        token: Tells it from every other call.
        deaths: How many workers have died while it ran.
    """

    token: str = field(default_factory=lambda: uuid.uuid4().hex)
    deaths: int = 0
