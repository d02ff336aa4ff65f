"""Calls on real batch systems: where they run, what becomes of them when a job ends, and what is left."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from batch_systems import SOON, BatchSystem, open_gate

from amltk.exceptions import WorkerDied, WorkerLost
from amltk.plugins import plugin_manager
from amltk_testing import calls

pytestmark = [pytest.mark.batch_system, pytest.mark.timeout(150), pytest.mark.usefixtures("nothing_is_left")]


@pytest.fixture
def make(system: BatchSystem, job_name: str, tmp_path: Path, monkeypatch, until) -> Iterator[Callable[..., Executor]]:
    """Make executors; after them no job is left, nor a file."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    with ExitStack() as opened:

        def make(n_workers: int = 2, **options: Any) -> Executor:
            options = system.options_of(job_name, **options)
            executor = plugin_manager().backend(system.name)(n_workers, **options).open()
            opened.callback(executor.shutdown, cancel_futures=True)
            return executor

        yield make
    until(lambda: system.jobs(job_name) == [], SOON)
    assert list(folder.iterdir()) == []


@pytest.fixture
def hold(tmp_path: Path) -> Iterator[Callable[[Executor, int], list[Future[str]]]]:
    """Submit calls that run until there is the file `gate`, and leave one file each, `began-0` and so on."""

    def hold(executor: Executor, number: int, first: int = 0) -> list[Future[str]]:
        begin = [tmp_path / f"began-{n}" for n in range(first, first + number)]
        return [executor.submit(calls.wait_for, tmp_path / "gate", began) for began in begin]

    yield hold
    (tmp_path / "gate").touch()


def begun(folder: Path) -> int:
    return len(list(folder.glob("began-*")))


def test_twenty_calls_on_two_workers(make, hold, tmp_path: Path, until) -> None:
    executor = make(2)
    futures = hold(executor, 20)
    until(lambda: begun(tmp_path) == 2, SOON)
    places = {executor.submit(calls.where): None for _ in range(20)}
    open_gate(tmp_path / "gate")
    assert [future.result(SOON) for future in futures] == ["done"] * 20
    found = {place.result(SOON) for place in places}
    assert 1 <= len(found) <= 2
    assert calls.where() not in found


def test_a_call_runs_in_a_job(system: BatchSystem, make, job_name: str) -> None:
    executor = make(1)
    assert executor.submit(os.getenv, system.id).result(SOON)
    assert len(system.jobs(job_name)) == 1


def test_workers_come_and_go_with_the_calls(
    system: BatchSystem, make, hold, job_name: str, tmp_path: Path, until
) -> None:
    executor = make(2)
    hold(executor, 1)
    until(lambda: begun(tmp_path) == 1, SOON)
    assert len(system.jobs(job_name)) == 1
    short = [executor.submit(calls.wait_for, tmp_path / "second") for _ in range(3)]
    until(lambda: len(system.jobs(job_name)) == 2, SOON)
    open_gate(tmp_path / "second")
    assert [future.result(SOON) for future in short] == ["done"] * 3
    until(lambda: len(system.jobs(job_name)) == 1, SOON)
    assert executor.submit(calls.add, 1).result(SOON) == 2  # by one that comes for it, for the other is busy


def test_a_job_that_is_cancelled_takes_only_its_call_with_it(
    system: BatchSystem, make, hold, job_name: str, tmp_path: Path, until
) -> None:
    executor = make(2)
    futures = hold(executor, 2)
    until(lambda: begun(tmp_path) == 2, SOON)
    system.cancel_job(system.jobs(job_name)[0])
    until(lambda: any(future.done() for future in futures), SOON)
    [ended] = [future for future in futures if future.done()]
    with pytest.raises(WorkerDied):
        ended.result()
    # Another job comes in its place, while the other call goes on.
    [third] = hold(executor, 1, first=2)
    until(lambda: begun(tmp_path) == 3, SOON)
    open_gate(tmp_path / "gate")
    futures.remove(ended)
    assert [future.result(SOON) for future in [*futures, third]] == ["done", "done"]


def test_a_worker_that_stands_still_is_given_up_with_its_job(system: BatchSystem, make, job_name: str, until) -> None:
    executor = make(1, heartbeat_timeout=5)
    job = executor.submit(os.getenv, system.id).result(SOON)
    before = system.jobs(job_name)
    still = executor.submit(signal.raise_signal, signal.SIGSTOP)
    after = executor.submit(os.getenv, system.id)
    with pytest.raises(WorkerLost, match="no sign of life for 5 s"):
        still.result(SOON)
    assert after.result(SOON) != job
    until(lambda: not set(before) & set(system.jobs(job_name)), SOON)


def test_two_clusters_at_once(make, hold, tmp_path: Path, until) -> None:
    executors = make(2), make(2)
    futures = [future for n, executor in enumerate(executors) for future in hold(executor, 2, first=2 * n)]
    until(lambda: begun(tmp_path) == 4, SOON)
    open_gate(tmp_path / "gate")
    assert [future.result(SOON) for future in futures] == ["done"] * 4
    executors[0].shutdown()
    assert executors[1].submit(calls.add, 1).result(SOON) == 2
