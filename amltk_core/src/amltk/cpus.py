"""The number of usable processors: the default number of workers on this machine."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator

_GROUPS = "/proc/self/cgroup"
_MOUNTS = "/proc/self/mountinfo"


def cpu_count() -> int:
    """Return the number of processors that this process may use, 1 or more.

    It is the number of `PYTHON_CPU_COUNT` or `-X cpu_count`, if given, also before Python 3.13. Otherwise it is the
    smallest of these: the processors of the machine, those of the process's affinity, and the quota of its cgroup (v1
    or v2) or of a parent group, rounded up. Containers and batch systems set the latter two.
    """
    given = _given()
    if given is not None:
        return given
    if hasattr(os, "process_cpu_count"):  # from Python 3.13 on
        usable = os.process_cpu_count()
    elif hasattr(os, "sched_getaffinity"):
        usable = len(os.sched_getaffinity(0))
    else:
        usable = os.cpu_count()
    return max(1, min([usable or 1, *_quotas()]))


def _given() -> int | None:
    environment = {} if sys.flags.ignore_environment else os.environ
    text = sys._xoptions.get("cpu_count") or environment.get("PYTHON_CPU_COUNT")
    try:
        number = int(str(text))
    except ValueError:  # such as "default"
        return None
    return number if number > 0 else None


def _quotas() -> Iterator[int]:
    """Yield the quotas of this process's cgroup and of its parents, in whole processors."""
    with contextlib.suppress(OSError, ValueError, IndexError):  # another system, or the files can't be read
        paths = _paths()
        with open(_MOUNTS, encoding="utf-8", errors="surrogateescape") as file:  # noqa: PTH123 - pathlib takes long to import
            mounts = [line.split() for line in file if " - cgroup" in line]
        for mount in mounts:
            kind, *_, options = mount[mount.index("-") + 1 :]
            controller = "" if kind == "cgroup2" else "cpu"
            if controller in paths and (not controller or controller in options.split(",")):
                root, top = _unescaped(mount[3]), _unescaped(mount[4])
                yield from _quotas_up(top, paths[controller].removeprefix(root.rstrip("/")))


def _paths() -> dict[str, str]:
    """Return the path of this process's group by controller; for v2, the controller is ""."""
    paths = {}
    with open(_GROUPS, encoding="utf-8", errors="surrogateescape") as file:  # noqa: PTH123 - likewise
        for line in file:
            _, controllers, path = line.rstrip("\n").split(":", 2)
            paths.update(dict.fromkeys(controllers.split(","), path))
    return paths


def _unescaped(path: str) -> str:
    for escape, character in ((r"\040", " "), (r"\011", "\t"), (r"\012", "\n"), (r"\134", "\\")):
        path = path.replace(escape, character)
    return path


def _quotas_up(top: str, path: str) -> Iterator[int]:
    names = [name for name in path.split("/") if name]
    if ".." in names:  # it lies outside of what is mounted here
        names = []
    for depth in range(len(names), -1, -1):
        quota = _quota("/".join([top, *names[:depth]]))
        if quota is not None:
            yield quota


def _quota(folder: str) -> int | None:
    try:
        try:
            quota, period = map(int, _read(f"{folder}/cpu.max").split())
        except FileNotFoundError:
            quota, period = int(_read(f"{folder}/cpu.cfs_quota_us")), int(_read(f"{folder}/cpu.cfs_period_us"))
        return -(-quota // period) if quota > 0 else None
    except (OSError, ValueError, ZeroDivisionError):  # there is no quota: "max", for example
        return None


def _read(path: str) -> str:
    with open(path, encoding="ascii") as file:  # noqa: PTH123 - likewise
        return file.read()
