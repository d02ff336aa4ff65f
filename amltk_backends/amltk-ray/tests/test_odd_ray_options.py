"""Odd values of the options of `with_ray`: refused by name when the scheduler is made, before anything starts."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction
from importlib.util import find_spec
from typing import Any

import pytest

from amltk import Scheduler

pytestmark = pytest.mark.skipif(find_spec("ray") is None, reason="Ray comes for a new Python later than that Python.")

ODD: dict[str, Any] = {
    "list": [], "dict": {}, "negative": -1, "zero": 0, "True": True, "empty": "", "two lines": "a\nb", "bytes": b"x",
    "None": None, "10**400": 10**400, "nan": float("nan"), "inf": float("inf"), "1e300": 1e300, "tiny": 1e-6,
    "third": Fraction(1, 3), "decimal": Decimal("1.5"), "huge text": "x" * 1_000_000, "object": object(),
    "nul": "a\0b", "half a character": "a\ud800",
}  # fmt: skip
# What is right; all else is refused.
TAKEN = {
    "max_workers": {"None"},
    "num_cpus": {"zero", "third"},
    "num_gpus": {"zero", "third"},
    "memory": {"None"},
    "resources": {"None", "dict"},
    "runtime_env": {"None", "dict"},
    "address": {"None"},
}


@pytest.mark.parametrize("value", ODD)
@pytest.mark.parametrize("name", TAKEN)
def test_each_is_refused_by_name_or_right(name: str, value: str) -> None:
    if value in TAKEN[name]:
        Scheduler.with_backend("ray", **{name: ODD[value]})
        return
    with pytest.raises((TypeError, ValueError), match=name) as caught:
        Scheduler.with_backend("ray", **{name: ODD[value]})
    assert len(str(caught.value)) < 1000


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"resources": {"license": float("nan")}}, "resources"),
        ({"resources": {"license": 10**400}}, "resources"),
        ({"resources": {"": 1}}, "resources"),
        ({"resources": {1: 1}}, "resources"),
        ({"runtime_env": {"env_vars": {"TOKEN": 1}}}, "env_vars"),
        ({"runtime_env": {"env_vars": ["TOKEN"]}}, "env_vars"),
    ],
)
def test_what_mappings_hold_is_looked_at(options: dict[str, Any], named: str) -> None:
    with pytest.raises((TypeError, ValueError), match=named):
        Scheduler.with_backend("ray", **options)


def test_ray_gets_numbers_of_python(monkeypatch: pytest.MonkeyPatch) -> None:
    """It takes no others: not the integers of NumPy, nor fractions."""
    numpy = pytest.importorskip("numpy")
    from amltk_ray import executor, plugin

    got: dict[str, Any] = {}
    monkeypatch.setattr(executor, "RayExecutor", lambda workers, **options: got.update(options, max_workers=workers))
    numbers = {"num_cpus": numpy.int64(2), "num_gpus": Fraction(1, 2), "memory": numpy.int64(3)}
    plugin.ray(numpy.int32(4), **numbers, resources={"license": numpy.float32(0.5)})
    kinds = {name: type(got[name]) for name in ("max_workers", "num_cpus", "num_gpus", "memory")}
    assert kinds == {"max_workers": int, "num_cpus": int, "num_gpus": float, "memory": int}
    assert type(got["resources"]["license"]) is float
