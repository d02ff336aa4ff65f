"""Odd values of the options of `with_dask`: refused by name when the scheduler is made, before anything starts."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest

from amltk import Scheduler

ODD: dict[str, Any] = {
    "list": [], "dict": {}, "negative": -1, "zero": 0, "True": True, "empty": "", "two lines": "a\nb", "bytes": b"x",
    "None": None, "10**400": 10**400, "nan": float("nan"), "inf": float("inf"), "1e300": 1e300, "tiny": 1e-6,
    "third": Fraction(1, 3), "decimal": Decimal("1.5"), "huge text": "x" * 1_000_000, "object": object(),
    "nul": "a\0b", "half a character": "a\ud800",
}  # fmt: skip
_DURATIONS = ["death_timeout", "heartbeat_interval", "lifetime", "profile_cycle_interval", "scheduler_sync_interval"]
_WORDS = ["address", "contact_address", "host", "http_prefix", "interface", "local_directory", "protocol"]
# What is right; all else is refused.
TAKEN: dict[str, set[str]] = {
    "n_workers": {"None"},
    "client": {"None"},
    "allowed_failures": {"zero"},
    "heartbeat_timeout": {"None"},
    "security": {"None", "True"},
    "threads_per_worker": {"None"},
    "nthreads": {"None"},
    "memory_limit": {"None", "zero", "tiny", "third"},
    "scheduler_port": {"None", "zero"},
    "port": {"None", "zero"},
    "dashboard_address": {"None", "zero", "empty"},
    "silence_logs": {"None", "zero"},
    "blocked_handlers": {"None", "list"},
    "preload_argv": {"None", "list"},
    "executor": {"None", "dict"},
    "WorkerStateClass": {"None"},
    "transition_counter_max": {"None"},
    "scheduler_ip": set(),
    "nanny": set(),
    **{name: {"None", "third"} for name in _DURATIONS} | {name: {"None"} for name in ("death_timeout", "lifetime")},
    "lifetime_stagger": {"None", "zero", "tiny", "third"},
    **{key: {"None"} for key in [*_WORDS, "scheduler_file", "scheduler_sni"]},
    **{key: {"None", "dict"} for key in ["env", "resources", "services", "scheduler_kwargs", "extensions", "metrics"]},
    **{key: {"None", "True"} for key in ["dashboard", "lifetime_restart", "low_level_profiler", "validate"]},
}


@pytest.mark.parametrize("value", ODD)
@pytest.mark.parametrize("name", TAKEN)
def test_each_is_refused_by_name_or_right(name: str, value: str) -> None:
    if value in TAKEN[name]:
        Scheduler.with_backend("dask", **{name: ODD[value]})
        return
    with pytest.raises((TypeError, ValueError), match=name) as caught:
        Scheduler.with_backend("dask", **{name: ODD[value]})
    assert len(str(caught.value)) < 1000


def test_numbers_of_numpy_are_numbers() -> None:
    numpy = pytest.importorskip("numpy")
    numbers = {name: numpy.int64(2) for name in ("n_workers", "threads_per_worker", "memory_limit")}
    Scheduler.with_backend("dask", **numbers, heartbeat_timeout=numpy.float64(0.5))


@pytest.mark.parametrize(
    "options",
    [
        {"env": {"TOKEN": 1}},
        {"env": {"TOKEN": "a\0b"}},
        {"env": {"": "x"}},
        {"resources": {"GPU": "two"}},
        {"resources": {"GPU": float("nan")}},
        {"memory_limit": "much"},
        {"memory_limit": "-1 GB"},
        {"death_timeout": "soon"},
        {"death_timeout": "-1 s"},
        {"port": [0, 10**6]},
        {"port": "x"},
        {"scheduler_port": 65536},
        {"silence_logs": "LOUD"},
        {"blocked_handlers": "eval"},
        {"executor": {"gpu": 2}},
    ],
)
def test_what_a_value_holds_is_looked_at(options: dict[str, Any]) -> None:
    [name] = options
    with pytest.raises((TypeError, ValueError), match=name):
        Scheduler.with_backend("dask", **options)


@pytest.mark.parametrize(
    "options",
    [
        {"memory_limit": "auto"},
        {"memory_limit": "4 GB"},
        {"death_timeout": "30 s"},
        {"port": "9000:9010"},
        {"silence_logs": False},
        {"silence_logs": "error"},
        {"dashboard_address": ":0"},
        {"preload": ["import os\nimport sys"]},
        {"preload_argv": [["--one"], ["--two"]]},
        {"transition_counter_max": False},
        {"executor": "offload"},
    ],
)
def test_what_dask_takes_is_taken(options: dict[str, Any]) -> None:
    Scheduler.with_backend("dask", **options)
