from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from pathlib import Path
from typing import Any

import cloudpickle
import pytest

# Tasks can't import from here.
sys.path.insert(0, str(Path(__file__).parent))

import calls_for_airflow

from amltk import Scheduler
from amltk.plugins import plugin_manager

cloudpickle.register_pickle_by_value(calls_for_airflow)

SERVER = Path(__file__).parent / "stand_in_airflow.py"
KEY = "0123456789abcdef" * 4


class StandIn:
    """A process that stands in for Airflow."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, SERVER],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert self._process.stdout is not None
        self.url = self._process.stdout.readline().strip()

    def control(self, **wanted: Any) -> dict[str, Any]:
        """Have it behave so, and return what it knows."""
        request = urllib.request.Request(f"{self.url}/control", json.dumps(wanted).encode())
        with urllib.request.urlopen(request, timeout=10) as answer:
            return json.load(answer)

    def runs(self) -> dict[str, dict[str, Any]]:
        return self.control()["runs"]

    def asked(self, what: str) -> int:
        """How often was this asked?"""
        return sum(what in each for each in self.control()["asked"])

    def close(self) -> None:
        self._process.communicate()


@pytest.fixture(scope="session", autouse=True)
def _key() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for name in ("KEY_FILE", "TOKEN"):
            patch.delenv(f"AMLTK_AIRFLOW_{name}", raising=False)
        for name, value in (("KEY", KEY), ("USERNAME", "tester"), ("PASSWORD", "the password")):
            patch.setenv(f"AMLTK_AIRFLOW_{name}", value)
        yield


@pytest.fixture(scope="module")
def shared_airflow() -> Iterator[StandIn]:
    server = StandIn()
    try:
        yield server
    finally:
        server.close()


@pytest.fixture
def airflow(shared_airflow: StandIn) -> StandIn:
    """One that knows nothing of other tests."""
    shared_airflow.control(forget=True)
    return shared_airflow


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Path]:
    """A folder, of which nothing is left at the end of a test."""
    folder = tmp_path / "store"
    yield folder
    assert not list(folder.glob("*"))


@pytest.fixture
def options(airflow: StandIn, store: Path) -> dict[str, Any]:
    return {"url": airflow.url, "store": store.as_uri(), "interval": 0.02}


@pytest.fixture
def scheduler(options: dict[str, Any]) -> Callable[..., Scheduler]:
    return lambda **more: Scheduler.with_backend("airflow", **{**options, **more})


@pytest.fixture
def executor(options: dict[str, Any]) -> Iterator[Executor]:
    with plugin_manager().backend("airflow")(**options).open() as executor:
        yield executor
