"""Starts Airflow for tests, unless it runs."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

# Tests of the fault suite run here, too; tasks have both folders on their path.
sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parent.parent / "faults")]

SCRIPT = Path(__file__).parent / "airflow.sh"
RUNNING = Path("/run/amltk-clusters/airflow")


class Airflow:
    """That of the script."""

    def __call__(self, *words: str) -> str:
        """Call the script."""
        return subprocess.run(["bash", str(SCRIPT), *words], stdout=subprocess.PIPE, text=True, check=True).stdout

    def cli(self, *words: str) -> str:
        """Call Airflow's own command."""
        return subprocess.run([RUNNING / "airflow", *words], capture_output=True, text=True, check=True).stdout


@pytest.fixture(scope="session")
def airflow() -> Iterator[Airflow]:
    """A real Airflow, with who may use it in the environment."""
    lack = "" if sys.platform == "linux" and os.geteuid() == 0 else "Airflow is started as root, on Linux"
    if lack:
        (pytest.fail if "CI" in os.environ else pytest.skip)(lack)
    airflow, was_there = Airflow(), RUNNING.exists()
    try:
        with pytest.MonkeyPatch.context() as patch:
            for line in airflow("start").splitlines():
                name, value = line.removeprefix("export ").split("=", 1)
                patch.setenv(name, value)
            for name in ("KEY_FILE", "TOKEN"):
                patch.delenv(f"AMLTK_AIRFLOW_{name}", raising=False)
            yield airflow
    finally:
        if not was_there:
            airflow("stop")


@pytest.fixture(scope="session")
def options(airflow: Airflow) -> Iterator[dict[str, Any]]:
    """What executors are made with; at the end of all tests, nothing is left in the store."""
    with tempfile.TemporaryDirectory(prefix="amltk-airflow-store-") as folder:
        yield {"url": os.environ["AMLTK_AIRFLOW_URL"], "store": f"file://{folder}", "max_workers": 8, "interval": 0.1}
        assert not list(Path(folder).iterdir())
