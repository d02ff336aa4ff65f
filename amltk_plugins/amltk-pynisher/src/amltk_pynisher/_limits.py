"""The limits of a call. Does not import pynisher, which not every process of a call needs."""

from __future__ import annotations

from typing import NamedTuple


class Limits(NamedTuple):
    """The limits of a call; None is no limit.

    Attributes:
        memory: Bytes of address space.
        cpu_time: Seconds, a whole number.
        wall_time: Seconds.
    """

    memory: int | None
    cpu_time: int | None
    wall_time: float | None
