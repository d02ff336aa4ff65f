"""The suite for backends, on a real Airflow."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from amltk_testing import BackendTests

pytestmark = [pytest.mark.airflow, pytest.mark.timeout(300)]


class TestAirflow(BackendTests):
    backend = "airflow"
    seconds = 60.0
    examples = 2  # each call takes a second

    @pytest.fixture(scope="class", autouse=True)
    @staticmethod
    def _options(options: dict[str, Any]) -> Iterator[None]:
        TestAirflow.options = options
        yield
        TestAirflow.options = {}
