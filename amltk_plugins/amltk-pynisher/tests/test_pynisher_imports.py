"""A library that takes longer to import than a call may: the initializer of the workers pays for it."""

from __future__ import annotations

import pytest

from amltk import PynisherPlugin, Scheduler

LIMIT = 2


@pytest.fixture
def _slow_library(tmp_path, monkeypatch):
    (tmp_path / "slow_to_import_within_limits.py").write_text(f"import time\ntime.sleep({LIMIT} + 1)\n")
    monkeypatch.syspath_prepend(tmp_path)


def import_libraries():
    import slow_to_import_within_limits  # noqa: F401


def evaluate(n):
    import slow_to_import_within_limits  # noqa: F401

    return n


@pytest.mark.usefixtures("_slow_library")
def test_an_import_in_the_initializer_is_free():
    scheduler = Scheduler.with_processes(2, initializer=import_libraries)
    task = scheduler.task(evaluate, plugins=PynisherPlugin(walltime_limit=LIMIT))
    results = []
    task.on_result(lambda _, result: results.append(result))
    scheduler.on_start(lambda: [task(n) for n in range(12)])
    scheduler.run(on_exception="raise")
    assert sorted(results) == list(range(12))


@pytest.mark.usefixtures("_slow_library")
def test_an_import_in_a_call_counts():
    scheduler = Scheduler.with_processes(1)
    task = scheduler.task(evaluate, plugins=PynisherPlugin(walltime_limit=LIMIT))
    errors = []
    task.on_exception(lambda _, error: errors.append(type(error)))
    scheduler.on_start(lambda: [task(n) for n in range(2)])
    scheduler.run(on_exception="ignore")
    assert errors == [PynisherPlugin.WallTimeoutException] * 2
