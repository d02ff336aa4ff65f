"""The suite for backends, with a stand-in for Airflow; `tests/airflow` has the real one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from amltk_testing import BackendTests

pytestmark = pytest.mark.thorough


class TestAirflowStandIn(BackendTests):
    backend = "airflow"
    examples = 3  # each call is two processes

    @pytest.fixture(scope="class", autouse=True)
    @staticmethod
    def _options(shared_airflow: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
        store = tmp_path_factory.mktemp("store")
        TestAirflowStandIn.options = {"url": shared_airflow.url, "store": store.as_uri(), "interval": 0.02}
        yield
        assert not list(store.iterdir())
