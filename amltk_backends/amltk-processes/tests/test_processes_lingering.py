"""Workers that are to end by themselves, and do not: they are ended after a grace."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from calls_for_processes import add, pid, wait_for
from processes_of_pools import workers

from amltk.exceptions import WorkerDied
from amltk_processes import BrokenProcessPool, ProcessPoolExecutor, _fork_server


@pytest.fixture(autouse=True)
def _short_grace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_fork_server, "GRACE", 0.2)


def close_all(folder: Path) -> None:
    os.closerange(3, 256)
    (folder / f"pid-{os.getpid()}").touch()


def replace_all(folder: Path) -> None:
    nowhere = os.open(os.devnull, os.O_RDWR)
    for fd in range(3, 256):
        os.dup2(nowhere, fd)
    (folder / f"pid-{os.getpid()}").touch()


def and_hang(close: Callable[[Path], None], folder: Path) -> None:
    close(folder)
    time.sleep(600)


def and_leave_a_thread(close: Callable[[Path], None], folder: Path) -> None:
    threading.Thread(target=time.sleep, args=(600,)).start()
    close(folder)


def later(close: Callable[[Path], None], folder: Path) -> None:
    def wait_and_close() -> None:
        while not (folder / "idle").exists():
            time.sleep(0.002)
        close(folder)

    threading.Thread(target=wait_and_close).start()


@pytest.mark.parametrize("close", [close_all, replace_all])
@pytest.mark.parametrize("after", [and_hang, and_leave_a_thread])
def test_a_worker_that_closes_its_connection_and_lives_on_is_ended(
    tmp_path: Path, until, lives, close: Callable[[Path], None], after: Callable[..., None]
) -> None:
    with ProcessPoolExecutor(2) as executor:
        innocent = executor.submit(wait_for, tmp_path / "gate", "x")
        until((tmp_path / "began-x").exists)
        lost = executor.submit(after, close, tmp_path)
        behind = [executor.submit(add, i) for i in range(5)]
        error = lost.exception(timeout=60)
        assert isinstance(error, WorkerDied)
        (worker,) = [int(path.name[4:]) for path in tmp_path.glob("pid-*")]
        assert not lives(worker)
        if after is and_hang:
            for part in ("closed its connection to the main process", f"process {worker} on ", "closerange"):
                assert part in str(error)
        assert [each.result() for each in behind] == [1, 2, 3, 4, 5]
        (tmp_path / "gate").touch()
        assert innocent.exception() is None


def test_an_idle_worker_that_closes_its_connection_gives_its_place_up(tmp_path: Path, until, lives) -> None:
    with ProcessPoolExecutor(1) as executor:
        executor.submit(later, close_all, tmp_path).result()
        first = executor.submit(pid).result()
        (tmp_path / "idle").touch()
        until(lambda: not lives(first))
        assert executor.submit(pid).result(timeout=60) != first


def test_a_call_that_closes_its_connection_can_be_cancelled(tmp_path: Path, until, lives) -> None:
    with ProcessPoolExecutor(1) as executor:
        lost = executor.submit(and_hang, close_all, tmp_path)
        until(lambda: list(tmp_path.glob("pid-*")))
        (worker,) = workers()
        assert lost.cancel()
        assert executor.submit(add, 1).result(timeout=60) == 2
        assert not lives(worker.pid)


def test_an_initializer_that_closes_its_connection_breaks_the_pool(tmp_path: Path) -> None:
    with ProcessPoolExecutor(1, initializer=and_hang, initargs=(close_all, tmp_path)) as executor:
        error = executor.submit(add, 1).exception(timeout=60)
        assert isinstance(error, BrokenProcessPool)
        assert "closed its connection" in str(error)


def test_how_a_worker_died_is_told_however_late_it_is(tmp_path: Path, until, monkeypatch) -> None:
    monkeypatch.setattr(_fork_server, "GRACE", 30)
    with ProcessPoolExecutor(1) as executor:
        error = executor.submit(os._exit, 7).exception()
        assert isinstance(error, WorkerDied)
        assert error.exit_code == 7


def leave_a_thread(folder: Path) -> int:
    """Leave a thread that never ends, and which the interpreter waits for at its end."""
    threading.Thread(target=time.sleep, args=(600,)).start()
    (folder / str(os.getpid())).touch()
    return len([each for each in folder.iterdir() if psutil.pid_exists(int(each.name))])


@pytest.mark.parametrize("tasks", [1, 2])
def test_retired_workers_count_until_they_have_ended(tmp_path: Path, tasks: int) -> None:
    with ProcessPoolExecutor(2, max_tasks_per_child=tasks) as executor:
        at_once = [executor.submit(leave_a_thread, tmp_path).result(timeout=60) for _ in range(8)]
        assert max(at_once) <= 2
        assert len(workers()) <= 2
    assert len(list(tmp_path.iterdir())) == 8 // tasks


def test_a_retired_worker_has_time_for_what_calls_have_left(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(_fork_server, "GRACE", 30)

    def leave_work(folder: Path) -> None:
        def work() -> None:
            time.sleep(0.3)
            (folder / "done").touch()

        threading.Thread(target=work).start()

    with ProcessPoolExecutor(1, max_tasks_per_child=1) as executor:
        executor.submit(leave_work, tmp_path).result()
        executor.submit(add, 1).result()
        assert (tmp_path / "done").exists()
