"""The distributions of this project: the plugins that each brings, and the command that installs it."""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Mapping
from importlib.util import find_spec
from typing import Any

KNOWN_BACKENDS: Mapping[str, str] = {
    "processes": "amltk-processes",
    "threads": "amltk-threads",
    "sequential": "amltk-sequential",
    "loky": "amltk-loky",
    "dask": "amltk-dask",
    "slurm": "amltk-slurm",
    "pbs": "amltk-pbs",
    "sge": "amltk-sge",
    "lsf": "amltk-lsf",
    "moab": "amltk-moab",
    "htcondor": "amltk-htcondor",
    "oar": "amltk-oar",
    "ray": "amltk-ray",
    "airflow": "amltk-airflow",
}
"""The backends of this project, and the distributions that bring them."""

KNOWN_TASK_PLUGINS: Mapping[str, str] = {
    "call-limiter": "amltk-call-limiter",
    "pynisher": "amltk-pynisher",
    "retry": "amltk-retry",
    "timeout": "amltk-timeout",
}
"""The task plugins of this project, and the distributions that bring them."""

KNOWN_COMMANDS: Mapping[str, str] = {"airflow": "amltk-airflow", "new": "amltk-testing"}
"""The commands that distributions of this project add to `amltk`, and these distributions."""

_NEEDS = {
    "amltk-dask-jobqueue": "amltk-dask",
    **{
        KNOWN_BACKENDS[name]: "amltk-dask-jobqueue"
        for name in ("slurm", "pbs", "sge", "lsf", "moab", "htcondor", "oar")
    },
}
"""The other distribution of this project, besides the core, that a distribution needs."""


def is_ours(distribution: str) -> bool:
    """Return whether a distribution is one of this project."""
    name = _normalized(distribution)
    known = (KNOWN_BACKENDS, KNOWN_TASK_PLUGINS, KNOWN_COMMANDS)
    return name in {"amltk", "amltk-core", *_NEEDS, *(each for names in known for each in names.values())}


def how_to_install(distribution: str, *, elsewhere: bool = False) -> str:
    """Return the command that installs a distribution of this project, and the folder in which it works.

    No distribution is on a package index yet, where other projects may have these names. Once they are published, the
    command is `pip install NAME`, and this is the only place to change.

    Args:
        distribution: The name of the distribution.
        elsewhere: Whether the command is for another environment, which may lack the core.
    """
    name = _normalized(distribution)
    folders = []
    while name:
        folders.append(_folder(name))
        name = _NEEDS.get(name, "")
    if elsewhere:
        folders.append(_folder("amltk-core"))
    return f"pip install {' '.join(reversed(folders))} (in a clone of amltk)"


def _folder(name: str) -> str:
    if name in {"amltk", "amltk-core"}:
        return "." if name == "amltk" else "./amltk_core"
    plugins = {*KNOWN_TASK_PLUGINS.values(), KNOWN_COMMANDS["new"]}
    return f"./amltk_plugins/{name}" if name in plugins else f"./amltk_backends/{name}"


def _normalized(name: str) -> str:
    return name.lower().replace("_", "-").replace(".", "-")


_OFFERED = {
    "CallLimiter": ("amltk_call_limiter", "amltk-call-limiter"),
    "PynisherPlugin": ("amltk_pynisher", "amltk-pynisher"),
    "Retry": ("amltk_retry", "amltk-retry"),
    "Timeout": ("amltk_timeout", "amltk-timeout"),
    "SequentialExecutor": ("amltk_sequential", "amltk-sequential"),
}


def installed_of(names: Iterable[str]) -> list[str]:
    """Return those names that belong to an installed distribution; loads none."""
    return [name for name in names if _is_installed(_OFFERED[name][0])]


def _is_installed(package: str) -> bool:
    try:
        spec = find_spec(package)
    except ImportError:  # raised by a finder
        return False
    except ValueError:  # a module without a spec is loaded
        return True
    return spec is not None and spec.origin is not None  # else only a folder of that name


def offered(name: str) -> Any:
    """Return a class of another distribution that is also importable from `amltk`.

    Raises:
        ImportError: That distribution is not installed.
    """
    module, distribution = _OFFERED[name]
    try:
        return getattr(importlib.import_module(module), name)
    except ModuleNotFoundError as error:
        if error.name != module:
            raise  # the distribution is installed, but a module that it needs is missing
        msg = f"{name} comes with {distribution}, which is not installed. Install it: {how_to_install(distribution)}"
        raise ImportError(msg, name=module) from None
