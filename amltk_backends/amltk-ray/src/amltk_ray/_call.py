"""A call on its way to a worker."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from amltk.remote import RemoteCall


@dataclass(eq=False)
class Call(RemoteCall):
    """A call and the future that waits for it.

    Attributes:
        ref: Ray's, once the call has been given to it.
    """

    ref: Any = field(default=None, repr=False)
