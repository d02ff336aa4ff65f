"""Odd values of options: refused with the option's name before anything starts, or taken."""

from __future__ import annotations

import inspect
from fractions import Fraction
from typing import Any

import pytest

from amltk import Scheduler
from amltk.checks import check_heartbeat, check_seconds

ODD: list[Any] = [[], {}, "", "\n", -1, 0, True, 1.5, float("nan"), float("inf"), 10**400, object(), int, b"x", (1, 2)]
BACKENDS = ["threads", "processes", "sequential", "loky"]


@pytest.mark.parametrize("backend", BACKENDS)
def test_each_option_is_refused_by_name_or_taken(backend: str) -> None:
    constructor = getattr(Scheduler, f"with_{backend}")
    for name in inspect.signature(constructor).parameters:
        for value in ODD:
            try:
                constructor(**{name: value})
            except (TypeError, ValueError) as error:
                assert name in str(error), (name, value, error)  # noqa: PT017 - it may be taken, too


@pytest.mark.parametrize("seconds", [10**400, 1e300, Fraction(10**400)])
def test_more_seconds_than_clocks_count_are_refused(seconds: Any) -> None:
    with pytest.raises(ValueError, match=r"^limit must be at most 1e\+09 seconds"):
        check_seconds("limit", seconds)


@pytest.mark.parametrize("seconds", [1e-6, 0.49, Fraction(1, 3)])
def test_a_heartbeat_that_a_busy_worker_misses_is_refused(seconds: Any) -> None:
    with pytest.raises(ValueError, match=r"^heartbeat_timeout must be at least 0\.5 seconds"):
        check_heartbeat("heartbeat_timeout", seconds)
    check_heartbeat("heartbeat_timeout", 0.5)
    check_heartbeat("heartbeat_timeout", None)


def test_numbers_of_numpy_are_numbers_for_pynisher() -> None:
    numpy = pytest.importorskip("numpy")
    checked = pytest.importorskip("amltk_pynisher._checks").checked
    limits = checked(numpy.int64(2_000_000), numpy.int64(2), numpy.float64(1.5))
    assert (limits.memory, limits.cpu_time, limits.wall_time) == (2_000_000, 2, 1.5)
    for name, values in {
        "walltime_limit": (None, None, 10**400),
        "memory_limit": (10**400 * 1.0 if False else [], None, None),
    }.items():
        with pytest.raises((TypeError, ValueError), match=name):
            checked(*values)
