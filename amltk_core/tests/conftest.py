"""What several of the core's test files use."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import HealthCheck, settings

from amltk.plugins.catalog import KNOWN_BACKENDS
from amltk_testing import ManualExecutor

# The same examples each time, and no judgement of how long one takes: machines are busy.
settings.register_profile("amltk", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("amltk")


@pytest.fixture
def manual() -> ManualExecutor:
    return ManualExecutor()


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(2) as executor:
        yield executor


@pytest.fixture
def faraway(monkeypatch: pytest.MonkeyPatch) -> None:
    """A backend of this project that nobody has installed."""
    monkeypatch.setitem(KNOWN_BACKENDS, "faraway", "amltk-faraway")  # type: ignore[misc] # others only read it
