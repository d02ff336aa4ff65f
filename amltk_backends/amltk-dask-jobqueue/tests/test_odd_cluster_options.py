"""Odd values of the options of batch systems: refused by name when the scheduler is made, before anything starts."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from amltk import Scheduler

SYSTEMS = ["slurm", "pbs", "sge", "lsf", "moab", "htcondor", "oar"]

ODD: dict[str, Any] = {
    "list": [], "dict": {}, "negative": -1, "zero": 0, "True": True, "empty": "", "two lines": "a\nb", "bytes": b"x",
    "None": None, "10**400": 10**400, "nan": float("nan"), "inf": float("inf"), "1e300": 1e300, "tiny": 1e-6,
    "third": Fraction(1, 3), "decimal": Decimal("1.5"), "huge text": "x" * 1_000_000, "object": object(),
    "nul": "a\0b", "half a character": "a\ud800",
}  # fmt: skip
_LISTS = ["env_extra", "extra", "header_skip", "job_directives_skip", "job_script_prologue", "worker_extra_args"]
# What is right; all else is refused.
TAKEN: dict[str, set[str]] = {
    "n_workers": set(),
    "cores": set(),
    "memory": set(),
    "adaptive": {"True"},
    "heartbeat_timeout": {"None"},
    "processes": {"None"},
    "security": {"None", "True"},
    "nanny": {"None", "True"},
    "death_timeout": {"None"},
    "dashboard_address": {"None", "zero", "empty"},
    "silence_logs": {"None", "zero"},
    "host": {"None", "empty"},
    "worker_interface": {"None", "empty"},
    "scheduler_options": {"None", "dict"},
    **{key: {"None", "list"} for key in _LISTS},
    **{key: {"None"} for key in ["config_name", "interface", "job_name", "log_directory", "protocol"]},
    **{key: {"None"} for key in ["cancel_command", "submit_command", "python", "shebang", "worker_command"]},
    **{key: {"None"} for key in ["local_directory", "scheduler_cls", "shared_temp_directory"]},
}
OF_SOME: dict[str, dict[str, set[str]]] = {
    "slurm": {name: {"None"} for name in ("queue", "account", "project", "walltime", "job_cpu", "job_mem")},
    "pbs": {name: {"None"} for name in ("queue", "account", "walltime", "resource_spec")},
    "sge": {name: {"None"} for name in ("queue", "project", "walltime", "resource_spec")},
    "lsf": {name: {"None"} for name in ("queue", "project", "walltime", "ncpus", "mem", "lsf_units")}
    | {"use_stdin": {"None", "True"}},
    "moab": {name: {"None"} for name in ("queue", "account", "walltime", "resource_spec")},
    "htcondor": {"disk": set(), "submit_command_extra": {"None", "list"}, "cancel_command_extra": {"None", "list"}},
    "oar": {name: {"None"} for name in ("queue", "project", "walltime", "memory_per_core_property_name")},
}


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Find out whether something is left in the current directory."""
    monkeypatch.chdir(tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # of dask-jobqueue's old names
        yield
    assert not list(tmp_path.iterdir())


def make(system: str, **options: Any) -> Scheduler:
    pytest.importorskip(f"amltk_{system}")
    given = {"n_workers": 1, "cores": 1, "memory": "1 GB", **({"disk": "1 GB"} if system == "htcondor" else {})}
    return Scheduler.with_backend(system, **{**given, **options})


def check(system: str, taken: dict[str, set[str]], value: str) -> None:
    for name, right in taken.items():
        if value in right:
            make(system, **{name: ODD[value]})
            continue
        with pytest.raises((TypeError, ValueError), match=name) as caught:
            make(system, **{name: ODD[value]})
        assert len(str(caught.value)) < 1000


@pytest.mark.parametrize("value", ODD)
def test_each_is_refused_by_name_or_right(value: str) -> None:
    check("slurm", TAKEN, value)


@pytest.mark.parametrize("value", ODD)
@pytest.mark.parametrize("system", SYSTEMS)
def test_so_is_what_one_system_has(system: str, value: str) -> None:
    check(system, OF_SOME[system], value)


@pytest.mark.parametrize("system", SYSTEMS)
def test_directives_are_lines_or_have_names(system: str) -> None:
    right, wrong = ["--some"], {"some": "x"}
    if system == "htcondor":
        right, wrong = wrong, right
    for name in ("job_extra_directives", "job_extra"):
        make(system, **{name: right})
        for value in (wrong, "--some", b"x", 2, [b"x"]):
            with pytest.raises(TypeError, match=name):
                make(system, **{name: value})


def test_numbers_of_numpy_are_numbers() -> None:
    numpy = pytest.importorskip("numpy")
    make("slurm", n_workers=numpy.int64(2), cores=numpy.int64(4), processes=numpy.int32(2))
    make("slurm", heartbeat_timeout=numpy.float64(0.5), death_timeout=numpy.float64(30))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("memory", "much"),
        ("memory", "0 GB"),
        ("cores", "4"),
        ("queue", "a\n#SBATCH --uid=0"),
        ("account", "a\rb"),
        ("worker_extra_args", ["--a", None]),
        ("worker_extra_args", ["--a\nrm"]),
        ("job_script_prologue", "module load cuda"),
        ("job_script_prologue", ["echo \0"]),
        ("job_extra_directives", ["--a\n#SBATCH --b"]),
        ("config_name", "nowhere"),
        ("death_timeout", "soon"),
    ],
)
def test_what_a_value_holds_is_looked_at(name: str, value: Any) -> None:
    with pytest.raises((TypeError, ValueError), match=name):
        make("slurm", **{name: value})


def test_so_is_what_dasks_configuration_holds() -> None:
    """There, a text of one line is easily written where a list has to be."""
    dask = pytest.importorskip("dask")
    pytest.importorskip("dask_jobqueue")
    with (
        dask.config.set({"jobqueue.slurm.job-script-prologue": "module load cuda"}),
        pytest.raises(TypeError, match="job_script_prologue must be a list"),
    ):
        make("slurm")
