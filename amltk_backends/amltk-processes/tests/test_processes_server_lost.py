"""The fork server is killed or stopped: another one takes its place."""

from __future__ import annotations

import multiprocessing
import signal
import sys
import time
from pathlib import Path

import pytest
from calls_for_processes import add, hang, pid
from processes_of_pools import servers, workers

from amltk.exceptions import WorkerDied
from amltk_processes import BrokenProcessPool, ProcessPoolExecutor

START_METHODS = ["forkserver", "spawn", "fork"]


@pytest.mark.parametrize("start_method", START_METHODS)
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_server_that_is_killed_while_no_worker_is_there_is_replaced(until, start_method: str, number: int) -> None:
    with ProcessPoolExecutor(1, multiprocessing.get_context(start_method)) as executor:
        for _ in range(7):  # more often than servers may die before they have started a worker
            assert executor.submit(sys.exit).exception() is not None
            workers()[0].kill()
            until(lambda: not workers())
            (server,) = servers()
            server.send_signal(number)
            until(lambda server=server: server not in servers())
        assert executor.submit(add, 1).result(timeout=60) == 2


@pytest.mark.parametrize("start_method", START_METHODS)
def test_a_server_that_is_killed_before_its_first_worker_is_replaced(start_method: str) -> None:
    with ProcessPoolExecutor(2, multiprocessing.get_context(start_method), initializer=int) as executor:
        calls = [executor.submit(add, i) for i in range(4)]
        servers()[0].kill()
        assert [call.result(timeout=60) for call in calls] == [1, 2, 3, 4]


def test_a_server_that_never_lives_breaks_the_pool(monkeypatch, until) -> None:
    import amltk_processes._fork_server as fork_server

    def suicide(_: str) -> list[str]:
        return [sys.executable, "-c", "import os; os.kill(os.getpid(), 9)"]

    monkeypatch.setattr(fork_server, "child_command", suicide)
    with ProcessPoolExecutor(1) as executor:
        error = executor.submit(add, 1).exception(timeout=60)
        assert isinstance(error, BrokenProcessPool)
        assert "exit code -9" in str(error)


@pytest.mark.parametrize("start_method", START_METHODS)
def test_a_stopped_server_that_calls_wait_for_is_replaced(until, caplog, start_method: str) -> None:
    with ProcessPoolExecutor(1, multiprocessing.get_context(start_method), heartbeat_timeout=0.5) as executor:
        executor.submit(sys.exit).exception()
        workers()[0].kill()
        until(lambda: not workers())
        (server,) = servers()
        server.suspend()
        assert executor.submit(add, 1).result(timeout=60) == 2
        assert server not in servers()
    (record,) = [record for record in caplog.records if record.name == "amltk_processes"]
    assert f"The fork server, process {server.pid}, was stopped" in record.getMessage()


def test_a_server_that_is_stopped_at_its_start_is_replaced() -> None:
    with ProcessPoolExecutor(1, heartbeat_timeout=0.5, preload=["json"]) as executor:
        call = executor.submit(add, 1)
        servers()[0].suspend()
        assert call.result(timeout=60) == 2


def test_a_worker_that_dies_while_the_server_is_stopped_is_replaced(tmp_path: Path, until, monkeypatch) -> None:
    with ProcessPoolExecutor(1, heartbeat_timeout=0.5) as executor:
        lost = executor.submit(hang, tmp_path)
        until((tmp_path / "began").exists)
        (worker,) = workers()
        servers()[0].suspend()
        worker.kill()
        error = lost.exception(timeout=60)
        assert isinstance(error, WorkerDied)
        assert executor.submit(add, 1).result(timeout=60) == 2


def test_a_stopped_server_that_nothing_waits_for_harms_nobody(tmp_path: Path, until) -> None:
    with ProcessPoolExecutor(1, heartbeat_timeout=0.5) as executor:
        first = executor.submit(pid).result()
        (server,) = servers()
        server.suspend()
        for _ in range(10):
            time.sleep(0.1)  # twice the limit in all
            assert executor.submit(pid).result() == first
        server.resume()
