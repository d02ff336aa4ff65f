"""Odd values of the options of `Timeout`: refused by name when the plugin is made, before anything starts."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest

from amltk_timeout import Timeout

ODD: dict[str, Any] = {
    "list": [], "dict": {}, "negative": -1, "zero": 0, "True": True, "empty": "", "two lines": "a\nb", "bytes": b"x",
    "None": None, "10**400": 10**400, "nan": float("nan"), "inf": float("inf"), "1e300": 1e300, "tiny": 1e-6,
    "third": Fraction(1, 3), "decimal": Decimal("1.5"), "huge text": "x" * 1_000_000, "object": object(),
    "nul": "a\0b", "half a character": "a\ud800",
}  # fmt: skip
TAKEN = {"seconds": {"tiny", "third"}}  # what is right; all else is refused


@pytest.mark.parametrize("value", ODD)
@pytest.mark.parametrize("name", TAKEN)
def test_each_is_refused_by_name_or_right(name: str, value: str) -> None:
    if value in TAKEN[name]:
        Timeout(**{name: ODD[value]})
        return
    with pytest.raises((TypeError, ValueError), match=name) as caught:
        Timeout(**{name: ODD[value]})
    assert len(str(caught.value)) < 1000


def test_numbers_of_numpy_are_numbers() -> None:
    numpy = pytest.importorskip("numpy")
    assert (Timeout(numpy.int64(2)).seconds, Timeout(numpy.float64(0.5)).seconds) == (2.0, 0.5)
