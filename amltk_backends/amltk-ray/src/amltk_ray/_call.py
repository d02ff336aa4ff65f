"""A call on its way to a worker."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import Any

from amltk.remote import RemoteCall


@dataclass(eq=False)
class Call(RemoteCall):
    """A call and the future that waits for it.

    Attributes:
        number: Tells it from every other call of the program.
        ref: Ray's, once the call has been given to it.
    """

    number: int = field(default_factory=itertools.count(1).__next__)
    ref: Any = field(default=None, repr=False)
