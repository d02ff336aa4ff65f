"""Checks of arguments: what passes, and that each error names argument, value and what is allowed."""

from __future__ import annotations

import functools
from fractions import Fraction
from numbers import Integral

import pytest

from amltk.checks import check_callable, check_int, check_seconds, check_type, did_you_mean


@Integral.register
@functools.total_ordering
class Int64:
    """Like an integer of numpy: no subclass of int, but registered as one."""

    def __init__(self, value: int) -> None:
        self.value = value

    def __eq__(self, other: object) -> bool:
        return self.value == other

    def __lt__(self, other: int) -> bool:
        return self.value < other

    __hash__ = None


def test_what_can_be_called():
    for value in (print, int, lambda: None, "".join):
        check_callable("function", value)


@pytest.mark.parametrize("value", [None, 3, "print"])
def test_what_cannot_be_called(value):
    with pytest.raises(TypeError) as caught:
        check_callable("function", value)
    assert str(caught.value) == f"function must be callable, got {value!r} of type {type(value).__name__}."


def test_integers():
    for value in (1, 2**63 - 1, Int64(1)):
        check_int("n", value, at_least=1)
    check_int("n", None, at_least=1, or_none=True)
    check_int("n", -5, at_least=-5)


@pytest.mark.parametrize("value", [1.0, "1", None, True, False, [1], 1j])
def test_what_is_no_integer(value):
    with pytest.raises(TypeError) as caught:
        check_int("n", value, at_least=1)
    assert str(caught.value) == (f"n must be an integer of at least 1, got {value!r} of type {type(value).__name__}.")


@pytest.mark.parametrize("value", [0, -1, Int64(0)])
def test_integers_that_are_too_small(value):
    with pytest.raises(ValueError, match=r"^n must be an integer of at least 1 or None, got"):
        check_int("n", value, at_least=1, or_none=True)


def test_seconds():
    for value in (0, 0.0, 3, 0.5, 1e9, Fraction(1, 2)):
        check_seconds("delay", value)
    check_seconds("timeout", None, or_none=True)
    check_seconds("limit", 0.001, zero=False)


@pytest.mark.parametrize("value", ["1", None, True, 1j, [1.0]])
def test_what_is_no_number_of_seconds(value):
    with pytest.raises(TypeError) as caught:
        check_seconds("delay", value)
    assert str(caught.value) == (
        f"delay must be a number of seconds, 0 or more, got {value!r} of type {type(value).__name__}."
    )


@pytest.mark.parametrize("value", [-1, -0.001, float("nan"), float("inf"), float("-inf")])
def test_seconds_that_are_none(value):
    with pytest.raises(ValueError, match=rf"^delay must be a number of seconds, 0 or more, got {value!r}\.$"):
        check_seconds("delay", value)


@pytest.mark.parametrize("value", [0, 0.0, -0.0])
def test_no_time_at_all_where_some_is_needed(value):
    with pytest.raises(ValueError, match=r"^limit must be a number of seconds, more than 0 or None, got"):
        check_seconds("limit", value, or_none=True, zero=False)


def test_types():
    check_type("wait", True, bool)
    check_type("name", "x", str)
    with pytest.raises(TypeError, match=r"^wait must be True or False, got 1 of type int\.$"):
        check_type("wait", 1, bool)
    with pytest.raises(TypeError, match=r"^initargs must be of type tuple, got \.\.\. of type list\.$"):
        check_type("initargs", [1], tuple)


def test_the_nearest_name_is_suggested_if_one_is_near():
    assert did_you_mean("proceses", ["threads", "processes"]) == " Did you mean 'processes'?"
    assert did_you_mean("proceses", []) == ""
    assert did_you_mean("xyz", ["threads", "processes"]) == ""
