"""A call as `amltk-ray` tracks it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from amltk.remote import RemoteCall


@dataclass(eq=False)
class Call(RemoteCall):
    """A call and its future.

    Attributes:
        ref: Ray's reference to the task; None before Ray has the call.
    """

    ref: Any = field(default=None, repr=False)
