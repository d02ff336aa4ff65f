"""The backend `dask` with a cluster that exists and hangs: its scheduler or a worker is stopped, and answers nobody."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import BrokenExecutor
from pathlib import Path

import calls_for_dask as calls
import pytest

from amltk import ExitState, Scheduler
from amltk.exceptions import WorkerLost
from amltk_dask import _existing, _handshake
from amltk_dask._existing import open_existing
from amltk_dask.executor import DaskExecutor

BOTH = """
import os, subprocess, sys
from distributed import LocalCluster
if __name__ == "__main__":
    cluster = LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address="127.0.0.1:0")
    pids = [worker.process.pid for worker in cluster.workers.values()]
    print(cluster.scheduler_address, *pids, flush=True)
    sys.stdin.read()
    cluster.close()
"""


class Cluster:
    """A scheduler in a process of its own, and its workers."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.address, *pids = process.stdout.readline().split()
        self.workers = [int(pid) for pid in pids]
        self.stopped: list[int] = []

    def stop(self, pid: int | None = None) -> None:
        self.stopped.append(self.process.pid if pid is None else pid)
        os.kill(self.stopped[-1], signal.SIGSTOP)

    def go_on(self) -> None:
        while self.stopped:
            os.kill(self.stopped.pop(), signal.SIGCONT)


@pytest.fixture
def remote(tmp_path, monkeypatch):
    monkeypatch.setattr(_handshake, "REMOTE_SECONDS", 2.0)
    monkeypatch.setattr(_existing, "REMOTE_SECONDS", 2.0)
    script = tmp_path / "cluster.py"
    script.write_text(BOTH)
    path = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    with subprocess.Popen(
        [sys.executable, script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        text=True, env={**os.environ, "PYTHONPATH": path},
    ) as process:  # fmt: skip
        cluster = Cluster(process)
        try:
            yield cluster
        finally:
            cluster.go_on()
            process.stdin.close()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:  # the cluster does not close; its nannies end with it
                process.kill()


def open_it(remote: Cluster, **options) -> DaskExecutor:
    return open_existing(remote.address, None, **{"allowed_failures": 0, "heartbeat_timeout": None, **options})


def begin(there: DaskExecutor, folder: Path, until, number: int = 2) -> list:
    folder.mkdir()
    futures = [there.submit(calls.wait_for, folder / "gate", folder) for _ in range(number)]
    until(lambda: len(list(folder.iterdir())) == min(number, 2), 30)
    return futures


def test_calls_of_a_scheduler_that_hangs_are_lost_in_time(remote, tmp_path, until):
    there = open_it(remote, heartbeat_timeout=3)
    first, second, waits = begin(there, tmp_path / "began", until, 3)
    remote.stop()
    for future in (first, second):
        error = future.exception(30)
        assert isinstance(error, WorkerLost)
        assert "gave no sign of life for 3 s (heartbeat_timeout)" in str(error)
    assert isinstance(waits.exception(30), BrokenExecutor)
    with pytest.raises(BrokenExecutor, match=r"scheduler, tcp://.* has not answered for 3 s"):
        there.submit(abs, -1)
    there.shutdown()


def test_an_executor_whose_scheduler_hangs_can_be_closed(remote, tmp_path, until, caplog):
    there = open_it(remote)
    futures = begin(there, tmp_path / "began", until)
    remote.stop()
    there.kill_workers()
    assert "are not ended: it has not answered for 2 s" in caplog.text
    there.shutdown()
    assert all(future.done() for future in futures)
    assert not [each for each in threading.enumerate() if each.name.startswith("amltk-dask")]


def test_a_run_with_a_timeout_ends_though_the_scheduler_hangs(remote, tmp_path, until):
    scheduler = Scheduler.with_dask(address=remote.address)
    gate, began = tmp_path / "gate", tmp_path / "began"
    began.mkdir()
    task = scheduler.task(calls.wait_for)
    scheduler.on_start(lambda: task(gate, began))

    def stop() -> None:
        until(lambda: list(began.iterdir()), 30)
        remote.stop()
        scheduler.stop()

    thread = threading.Thread(target=stop)
    thread.start()
    assert scheduler.run(wait=False, on_exception="ignore").code is ExitState.Code.STOPPED
    thread.join()


def test_a_scheduler_that_hangs_at_the_start_is_told(remote, monkeypatch):
    import dask

    remote.stop()
    with (
        dask.config.set({"distributed.comm.timeouts.connect": "1s"}),
        pytest.raises(OSError, match=r"Timed out|has not answered for 3 s"),
    ):
        open_it(remote)


def test_one_worker_that_hangs_holds_up_no_other(remote, until):
    remote.stop(remote.workers[0])
    there = open_it(remote)
    assert [there.submit(abs, -n).result(30) for n in range(5)] == list(range(5))
    assert len(there.workers) == 1
    remote.go_on()
    until(lambda: len(there.workers) == 2, 30)
    there.shutdown()
