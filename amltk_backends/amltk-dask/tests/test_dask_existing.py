"""The backend `dask` with a cluster that exists: dask's own workers, under nannies, which stay."""

from __future__ import annotations

import os
import platform
import threading
from concurrent.futures import BrokenExecutor
from typing import NamedTuple

import calls_for_dask as calls
import dask
import pytest
from distributed import Client, LocalCluster

from amltk import ExitState, Scheduler
from amltk.exceptions import NotSupportedError, WorkerDied
from amltk_dask import _versions, _worker
from amltk_dask._existing import open_existing

Code = ExitState.Code


def ours() -> list[str]:
    """Return the threads that executors have; the cluster is in this process, too, and starts and ends some."""
    return sorted(each.name for each in threading.enumerate() if each.name == "IO loop" or "amltk" in each.name)


@pytest.fixture
def make(cluster):
    """Make executors that are closed at the end, and leave nothing behind."""
    made = []
    before = ours()

    def make(**options):
        options = {"address": cluster.scheduler_address, "client": None, "allowed_failures": 0, **options}
        made.append(open_existing(**{"heartbeat_timeout": None, **options}))
        return made[-1]

    yield make
    for executor in made:
        executor.shutdown(cancel_futures=True)  # a test that has failed may have left some
    assert ours() == before


def test_by_address_and_by_client(cluster, client):
    for options in ({"address": cluster.scheduler_address}, {"client": client}):
        scheduler = Scheduler.with_dask(**options)
        task = scheduler.task(lambda x: x + 1)
        results = []
        scheduler.on_start(lambda task=task: task(1))
        task.on_result(lambda _, result, results=results: results.append(result))
        for _ in range(2):
            assert scheduler.run().code is Code.EXHAUSTED
        assert results == [2, 2]
    assert client.submit(abs, -3).result(30) == 3


def test_nobody_is_there():
    before = ours()
    scheduler = Scheduler.with_dask(address="tcp://127.0.0.1:9")
    with (
        dask.config.set({"distributed.comm.timeouts.connect": "0.5s"}),
        pytest.raises(OSError, match="Timed out") as info,
    ):
        scheduler.run()
    assert "found no scheduler at tcp://127.0.0.1:9" in info.value.__notes__[0]
    assert ours() == before


def test_what_dask_would_take_for_its_own_reaches_the_function(make):
    executor = make()
    keywords = {"priority": 1, "key": 2, "workers": 3, "resources": 4, "retries": 5, "actor": 6, "pure": 7, "fn": 8}
    assert executor.submit(calls.echo, **keywords).result(30) == keywords
    assert executor.submit(calls.have_a_child).result(30) == 5


def test_equal_calls_run_each(make, tmp_path):
    executor = make()
    for future in [executor.submit(calls.note, tmp_path) for _ in range(3)]:
        future.result(30)
    assert len(list(tmp_path.iterdir())) == 3


def test_a_worker_that_did_not_answer_at_first_is_asked_again(make, monkeypatch):
    run, refused = Client.run, []

    def refuse(self, function, *args, **options):
        if function is not _worker.handshake or refused:
            return run(self, function, *args, **options)
        refused.extend(options["workers"])

        async def answers():
            return dict.fromkeys(refused, OSError("busy"))

        return answers()

    monkeypatch.setattr(Client, "run", refuse)
    assert make().submit(abs, -5).result(30) == 5
    assert refused


def test_a_call_whose_worker_died_has_run_once(make, tmp_path):
    executor = make()
    dead = executor.submit(calls.die, tmp_path)
    with pytest.raises(WorkerDied) as info:
        dead.result(30)
    (noted,) = tmp_path.iterdir()
    assert info.value.pid == int(noted.name.split("-")[0])
    assert f"process {info.value.pid} on {platform.node()}" in str(info.value)
    assert executor.submit(abs, -1).result(30) == 1  # in the worker that the nanny has started
    assert len(list(tmp_path.iterdir())) == 1


def test_a_call_whose_worker_died_runs_again_if_that_is_allowed(make, tmp_path):
    assert make(allowed_failures=1).submit(calls.die_at_first, tmp_path).result(50) != os.getpid()
    assert len(list(tmp_path.iterdir())) == 2


def test_a_worker_that_runs_our_calls_alone_is_ended(make, client, tmp_path, until):
    executor = make()
    runs = executor.submit(calls.wait_for, tmp_path / "gate", tmp_path)
    until(lambda: list(tmp_path.iterdir()))
    executor.kill_workers()
    with pytest.raises(WorkerDied, match=r"ended by kill_workers\(\)"):
        runs.result(0)
    assert client.submit(abs, -2).result(30) == 2


def test_a_worker_that_others_use_is_left_alone(make, client, tmp_path, until, caplog):
    """And what goes on there is told."""
    gate, ours, theirs = tmp_path / "gate", tmp_path / "ours", tmp_path / "theirs"
    ours.mkdir()
    theirs.mkdir()
    others = client.submit(calls.wait_for, gate, theirs, pure=False)
    executor = make()
    runs = executor.submit(calls.wait_for, gate, ours)
    until(lambda: list(ours.iterdir()) and list(theirs.iterdir()))
    executor.kill_workers()
    assert "is not ended: calls of others run in it" in caplog.text
    assert not runs.done()
    executor.shutdown()  # does not wait for what can't be ended
    assert isinstance(runs.exception(0), WorkerDied)
    gate.touch()
    assert others.result(30)


def test_other_versions_are_refused_at_the_start(make, monkeypatch):
    here = {**_worker.versions(), "Python": "2.7", "cloudpickle": "0.1"}
    monkeypatch.setattr(_versions, "versions", lambda: here)
    there = _worker.versions()["Python"]
    with pytest.raises(NotSupportedError, match=rf"Python: here 2\.7, there {there}; cloudpickle: here 0\.1, there"):
        make()


def test_a_worker_that_says_something_else_of_itself_is_refused(make, monkeypatch):
    monkeypatch.setattr(_worker, "Greeting", NamedTuple("Greeting", [("pid", int)]))
    with pytest.raises(NotSupportedError, match="it has another version of amltk-dask"):
        make()


def test_a_worker_without_this_distribution_is_refused():
    error = _versions.check_fit("tcp://there:1", ModuleNotFoundError("No module", name="amltk_dask"))
    assert isinstance(error, NotSupportedError)
    assert "The worker tcp://there:1 cannot import amltk_dask" in str(error)
    assert "pip install ./amltk_core ./amltk_backends/amltk-dask" in str(error)


def test_the_cluster_goes_away_in_the_middle(tmp_path, until):
    with LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address="127.0.0.1:0") as cluster:
        executor = open_existing(cluster.scheduler_address, None, allowed_failures=0, heartbeat_timeout=None)
        futures = [executor.submit(calls.wait_for, tmp_path / "gate", tmp_path) for _ in range(2)]
        until(lambda: list(tmp_path.iterdir()))
    for future in futures:
        assert future.exception(30) is not None
    with pytest.raises(BrokenExecutor, match=r"connection to dask's scheduler, tcp://.*, is lost"):
        executor.submit(abs, -1).result(30)
    executor.shutdown()


def test_a_client_of_another_thread_is_fine(cluster, make):
    with Client(cluster.scheduler_address, set_as_default=False) as other:
        executor = make(address=None, client=other)
        assert executor.submit(abs, -4).result(30) == 4
