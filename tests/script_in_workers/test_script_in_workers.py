"""Libraries find in a worker what they find in the script: its classes and functions, their globals, `__main__`."""

from __future__ import annotations

import functools
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

SCRIPT = Path(__file__).with_name("script_of_workers.py")
BACKENDS: dict[str, tuple[str, dict[str, Any]]] = {
    "processes": ("processes", {"max_workers": 1, "initializer": True}),
    "fork": ("processes", {"max_workers": 1, "initializer": True, "mp_context": "fork"}),
    "spawn": ("processes", {"max_workers": 1, "initializer": True, "mp_context": "spawn"}),
    "loky": ("loky", {"max_workers": 1, "initializer": True}),
    "dask": ("dask", {"n_workers": 1}),
}


CHECKS = re.findall(r"^def (\w+)\(call\):$", SCRIPT.read_text(), re.MULTILINE)
CASES = [
    (backend, check)
    for backend, (_, options) in BACKENDS.items()
    for check in CHECKS
    if check != "initializer_of_globals" or "initializer" in options
]


@functools.cache
def found(backend: str) -> dict[str, list[Any]]:
    """Return what each check found on a backend, and what it should have found."""
    name, options = BACKENDS[backend]
    pytest.importorskip(f"amltk_{name}")
    command = [sys.executable, str(SCRIPT), name, json.dumps(options)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=55, check=False)
    assert done.returncode == 0, done.stderr
    outcome: dict[str, list[Any]] = json.loads(done.stdout)
    return outcome


@pytest.mark.parametrize(("backend", "check"), CASES)
def test_a_worker_has_what_the_script_has(backend: str, check: str) -> None:
    value, right = found(backend)[check]
    assert value == right
