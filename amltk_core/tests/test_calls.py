"""Calls and functions as text."""

from __future__ import annotations

import functools
import operator
from types import SimpleNamespace

import pytest

from amltk.calls import describe_call, name_of


class Callable:
    def __call__(self) -> None: ...


class NotToBeShown(str):
    __slots__ = ()

    def __repr__(self) -> str:
        raise ValueError


def test_whatever_is_called_has_a_name() -> None:
    assert name_of(operator.mul) == "mul"
    assert name_of(Callable) == name_of(Callable()) == "Callable"
    assert name_of(functools.partial(functools.partial(operator.mul, 2), 3)) == "mul"
    assert name_of(SimpleNamespace(__qualname__=3)) == name_of(SimpleNamespace(__qualname__="")) == "SimpleNamespace"


def test_a_call_is_described_in_short() -> None:
    assert describe_call(operator.mul, (2,), {"by": 0.5}) == "mul(2, by=0.5)"
    assert len(describe_call(operator.mul, ("x" * 1000,), {"by": "y" * 1000})) < 160


@pytest.mark.parametrize("value", [NotToBeShown(), 10**5000], ids=["text", "number"])
def test_a_value_that_cannot_be_shown_does_no_harm(value: object) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - it has no text
        repr(value)
    assert describe_call(operator.mul, (value,), {}).startswith("mul(")
