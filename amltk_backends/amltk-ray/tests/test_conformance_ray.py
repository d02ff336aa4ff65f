"""The suite for backends: a cluster takes seconds to start, so most of it shares one."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Executor

import pytest

from amltk_testing import BackendTests

pytestmark = [pytest.mark.ray, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def shared() -> Iterator[list[Executor]]:
    """Return a place for an executor that keeps a cluster up."""
    executors: list[Executor] = []
    yield executors
    for executor in executors:
        executor.shutdown()


class TestRay(BackendTests):
    backend = "ray"
    options = {"max_workers": 2}  # noqa: RUF012 - nobody changes it
    examples = 1  # of orders of events, each with several clusters

    @pytest.fixture(autouse=True)
    def _cluster(self, shared: list[Executor], request: pytest.FixtureRequest) -> None:
        """Have runs share a cluster, unless it is asked what they leave behind."""
        from amltk_ray.executor import RayExecutor

        if request.function.__module__.endswith((".leaks", ".state_machine")):
            while shared:
                shared.pop().shutdown()
        elif not shared:
            shared.append(RayExecutor(2))
