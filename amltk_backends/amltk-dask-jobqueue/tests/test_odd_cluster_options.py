"""Odd values of the options of batch systems and dask: refused by name, before anything starts."""

from __future__ import annotations

from typing import Any

import pytest

from amltk import Scheduler


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("cores", -1), ("cores", 0), ("cores", True), ("cores", "4"), ("processes", []), ("memory", True),
        ("memory", {}), ("memory", ""), ("queue", "a\n#SBATCH --uid=0"), ("queue", []), ("account", "a\rb"),
        ("walltime", 30), ("heartbeat_timeout", 1e-6), ("heartbeat_timeout", 10**400),
    ],
)  # fmt: skip
def test_slurm_refuses_it(name: str, value: Any) -> None:
    pytest.importorskip("amltk_slurm")
    options = {"n_workers": 1, "cores": 1, "memory": "1 GB", name: value}
    with pytest.raises((TypeError, ValueError), match=name):
        Scheduler.with_backend("slurm", **options)


@pytest.mark.parametrize(
    ("name", "value"),
    [("threads_per_worker", []), ("threads_per_worker", 0), ("memory_limit", {}), ("memory_limit", True)],
)
def test_dask_refuses_it(name: str, value: Any) -> None:
    pytest.importorskip("amltk_dask")
    with pytest.raises((TypeError, ValueError), match=name):
        Scheduler.with_backend("dask", n_workers=1, **{name: value})
