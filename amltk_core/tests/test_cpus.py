"""The default number of workers: affinity, quotas of cgroups, and what the user says."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from amltk import cpus


@pytest.fixture(autouse=True)
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Have eight processors and no cgroup; return the folder of a machine's files."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    monkeypatch.setattr(cpus, "_GROUPS", str(tmp_path / "cgroup"))
    monkeypatch.setattr(cpus, "_MOUNTS", str(tmp_path / "mountinfo"))
    monkeypatch.delenv("PYTHON_CPU_COUNT", raising=False)
    return tmp_path


def groups(machine: Path, mine: str, mounts: str, **files: str) -> None:
    (machine / "cgroup").write_text(mine)
    (machine / "mountinfo").write_text(mounts.replace("@", str(machine)))
    for name, text in files.items():
        path = machine / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        folder, _, kind = name.rpartition("__")
        if kind == "v2":
            (machine / folder.replace("__", "/") / "cpu.max").write_text(text)
        else:
            quota, period = text.split()
            (machine / folder.replace("__", "/") / "cpu.cfs_quota_us").write_text(quota)
            (machine / folder.replace("__", "/") / "cpu.cfs_period_us").write_text(period)


V2 = "30 20 0:26 / @/fs rw,nosuid - cgroup2 cgroup2 rw\n"
V1 = "30 20 0:26 / @/cpu rw - cgroup cgroup rw,cpu,cpuacct\n31 20 0:27 / @/memory rw - cgroup cgroup rw,memory\n"


def test_without_a_quota_it_is_the_affinity() -> None:
    assert cpus.cpu_count() == 8


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("max 100000\n", 8),
        ("100000 100000\n", 1),
        ("150000 100000\n", 2),
        ("1000 100000\n", 1),
        ("1600000 100000\n", 8),
        ("", 8),
        ("nonsense\n", 8),
        ("100000 0\n", 8),
    ],
)
def test_a_quota_of_v2(machine: Path, text: str, count: int) -> None:
    groups(machine, "0::/job\n", V2, fs__job__v2=text)
    assert cpus.cpu_count() == count


@pytest.mark.parametrize(("text", "count"), [("-1 100000", 8), ("150000 100000", 2), ("50000 100000", 1)])
def test_a_quota_of_v1(machine: Path, text: str, count: int) -> None:
    groups(machine, "5:cpu,cpuacct:/job\n4:memory:/other\n0::/\n", V1, cpu__job__v1=text)
    assert cpus.cpu_count() == count


def test_the_smallest_quota_of_all_groups_above_counts(machine: Path) -> None:
    quotas = {"fs__a__b__v2": "600000 100000", "fs__a__v2": "300000 100000", "fs__a__b__c__v2": "max 100000"}
    groups(machine, "0::/a/b/c\n", V2, **quotas)
    assert cpus.cpu_count() == 3


def test_both_versions_at_once(machine: Path) -> None:
    groups(machine, "3:cpu:/a\n0::/b\n", V1 + V2, cpu__a__v1="500000 100000", fs__b__v2="400000 100000")
    assert cpus.cpu_count() == 4


def test_a_container_sees_its_own_group_as_the_top(machine: Path) -> None:
    mount = "30 20 0:26 /docker/x @/cpu rw shared:7 master:2 - cgroup cgroup rw,cpuacct,cpu\n"
    groups(machine, "3:cpuacct,cpu:/docker/x/part\n", mount, cpu__part__v1="500000 100000", cpu__v1="200000 100000")
    assert cpus.cpu_count() == 2


@pytest.mark.parametrize("path", ["/../other", "/nowhere", "/", "/docker/xy"])
def test_a_group_that_is_not_mounted_leaves_the_top(machine: Path, path: str) -> None:
    mount = "30 20 0:26 /docker/x @/fs rw - cgroup2 cgroup2 rw\n"
    groups(machine, f"0::{path}\n", mount, fs__v2="200000 100000", other__v2="100000 100000")
    assert cpus.cpu_count() == 2


def test_a_folder_with_a_space(machine: Path) -> None:
    groups(machine, "0::/job\n", V2.replace("@/fs", r"@/f\040s"), **{"f s__job__v2": "200000 100000"})
    assert cpus.cpu_count() == 2


@pytest.mark.parametrize("text", ["", "nonsense\n", "0::\n", ":::::\n", "\udcff:cpu:/\n"])
@pytest.mark.parametrize("mounts", ["", "nonsense - cgroup\n", "1 2 - cgroup2\n", "- cgroup2 cgroup2 rw\n"])
def test_odd_files_harm_nobody(machine: Path, text: str, mounts: str) -> None:
    (machine / "cgroup").write_text(text, errors="surrogateescape")
    (machine / "mountinfo").write_text(mounts)
    assert cpus.cpu_count() == 8


def test_folders_instead_of_files_harm_nobody(machine: Path) -> None:
    groups(machine, "0::/job\n", V2)
    (machine / "fs" / "job" / "cpu.max").mkdir(parents=True)
    assert cpus.cpu_count() == 8
    (machine / "cgroup").unlink()
    (machine / "cgroup").mkdir()
    assert cpus.cpu_count() == 8


@pytest.mark.parametrize(
    ("said", "count"), [("1", 1), ("3", 3), ("64", 64), ("default", 2), ("0", 2), ("-1", 2), ("x", 2), ("", 2)]
)
def test_what_the_user_says_counts(machine: Path, monkeypatch: pytest.MonkeyPatch, said: str, count: int) -> None:
    groups(machine, "0::/\n", V2, fs__v2="200000 100000")
    monkeypatch.setenv("PYTHON_CPU_COUNT", said)
    assert cpus.cpu_count() == count


@pytest.mark.parametrize(
    ("options", "count"), [(["-X", "cpu_count=5"], "5"), ([], "7"), (["-X", "cpu_count=5", "-E"], "5")]
)
def test_the_option_of_the_interpreter_comes_first(options: list[str], count: str) -> None:
    command = [sys.executable, *options, "-c", "from amltk.cpus import cpu_count; print(cpu_count())"]
    done = subprocess.run(command, env={**os.environ, "PYTHON_CPU_COUNT": "7"}, capture_output=True, check=True)
    assert done.stdout.decode().strip() == count


def test_where_nothing_is_known_it_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    monkeypatch.delattr(os, "process_cpu_count", raising=False)
    assert cpus.cpu_count() == 1
