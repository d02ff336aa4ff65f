"""What distributions of this project bring, installed or not."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
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

_OFFERED = {
    "CallLimiter": ("amltk_call_limiter", "amltk-call-limiter"),
    "PynisherPlugin": ("amltk_pynisher", "amltk-pynisher"),
    "Retry": ("amltk_retry", "amltk-retry"),
    "Timeout": ("amltk_timeout", "amltk-timeout"),
    "SequentialExecutor": ("amltk_sequential", "amltk-sequential"),
}


def offered(name: str) -> Any:
    """Return a class that `amltk` offers under its own name, but another distribution brings.

    Raises:
        ImportError: That distribution is not installed.
    """
    module, distribution = _OFFERED[name]
    try:
        return getattr(importlib.import_module(module), name)
    except ModuleNotFoundError as error:
        if error.name != module:
            raise  # it is installed, and something that it needs is not
        msg = f"{name} comes with {distribution}, which is not installed. Install it: pip install {distribution}"
        raise ImportError(msg, name=module) from None
