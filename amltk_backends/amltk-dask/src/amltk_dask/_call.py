"""A call as `amltk-dask` tracks it."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field

from amltk.remote import RemoteCall


@dataclass(eq=False)
class Call(RemoteCall):
    """A call and its future.

    Attributes:
        token: Unique for each call.
        deaths: How many workers died while they ran it.
    """

    token: str = field(default_factory=lambda: uuid.uuid4().hex)
    deaths: int = 0
