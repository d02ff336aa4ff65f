"""Odd values of the options of `PynisherPlugin`: refused by name when the plugin is made, before anything starts."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest

from amltk_pynisher import PynisherPlugin

ODD: dict[str, Any] = {
    "list": [], "dict": {}, "negative": -1, "zero": 0, "True": True, "empty": "", "two lines": "a\nb", "bytes": b"x",
    "None": None, "10**400": 10**400, "nan": float("nan"), "inf": float("inf"), "1e300": 1e300, "tiny": 1e-6,
    "third": Fraction(1, 3), "decimal": Decimal("1.5"), "huge text": "x" * 1_000_000, "object": object(),
    "nul": "a\0b", "half a character": "a\ud800",
}  # fmt: skip
# What is right; all else is refused.
TAKEN = {"memory_limit": {"None"}, "cputime_limit": {"None"}, "walltime_limit": {"None", "tiny", "third"}}


@pytest.mark.parametrize("value", ODD)
@pytest.mark.parametrize("name", TAKEN)
def test_each_is_refused_by_name_or_right(name: str, value: str) -> None:
    if value in TAKEN[name]:
        PynisherPlugin(**{name: ODD[value]})
        return
    with pytest.raises((TypeError, ValueError), match=name) as caught:
        PynisherPlugin(**{name: ODD[value]})
    assert len(str(caught.value)) < 1000


def test_numbers_of_numpy_are_numbers() -> None:
    numpy = pytest.importorskip("numpy")
    plugin = PynisherPlugin(memory_limit=(numpy.int64(2), "GB"), walltime_limit=numpy.float64(0.5))
    assert plugin.limits == (2 << 30, None, 0.5)
