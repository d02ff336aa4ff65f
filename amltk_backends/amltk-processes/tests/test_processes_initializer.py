"""What workers get before their first call, however large it is, and how it ends when nobody needs it any more."""

from __future__ import annotations

import fcntl
import logging
import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from calls_for_processes import add, family, nothing, wait_for

from amltk import Scheduler
from amltk.exceptions import WorkerDied
from amltk_processes import ProcessPoolExecutor, _fork_server, _pool, _worker_connection
from amltk_processes._frames import NUMBER
from amltk_processes._worker_connection import MOST_CALLS, WorkerConnection

LARGE = 300_000  # bytes: more than a socket takes at once


@pytest.mark.parametrize("method", ["forkserver", "spawn", "fork"])
@pytest.mark.parametrize("size", [LARGE, 300_000_000], ids=["300 kB", "300 MB"])
def test_an_initializer_gets_arguments_of_any_size(method: str, size: int) -> None:
    def begin(data: bytes) -> None:
        os.environ["SIZE"] = str(len(data))

    context = multiprocessing.get_context(method)
    with ProcessPoolExecutor(1, context, begin, (bytes(size),), max_tasks_per_child=1) as executor:
        futures = [executor.submit(os.getenv, "SIZE") for _ in range(2)]
        assert [future.result(timeout=60) for future in futures] == [str(size)] * 2


def test_an_initializer_may_itself_be_large() -> None:
    data = bytes(LARGE)
    with ProcessPoolExecutor(1, initializer=lambda: os.environ.update(SIZE=str(len(data)))) as executor:
        assert executor.submit(os.getenv, "SIZE").result(timeout=20) == str(LARGE)


@pytest.fixture
def small_buffers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have sockets that take little at once."""

    def pair() -> tuple[socket.socket, socket.socket]:
        ends = make_pair()
        for end in ends:
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        return ends

    make_pair = socket.socketpair
    monkeypatch.setattr(socket, "socketpair", pair)


def test_a_call_that_an_idle_workers_socket_does_not_take_at_once_arrives(small_buffers: None) -> None:
    with ProcessPoolExecutor(1) as executor:
        for _ in range(20):  # one after the other: each finds the worker idle
            assert executor.submit(len, bytes(60_000)).result(timeout=20) == 60_000


def test_the_levels_of_many_loggers_arrive(small_buffers: None, monkeypatch: pytest.MonkeyPatch) -> None:
    levels = {f"library.part{number}": logging.ERROR for number in range(20_000)}
    monkeypatch.setattr(_pool, "levels", lambda: (logging.WARNING, 0, levels))

    def look() -> int:
        return logging.getLogger("library.part19999").level

    with ProcessPoolExecutor(1) as executor:
        assert executor.submit(look).result(timeout=20) == logging.ERROR


@pytest.fixture
def small_pipes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have pipes of a page each, as a user has who has many."""

    def pipe() -> tuple[int, int]:
        ends = os.pipe()
        fcntl.fcntl(ends[1], fcntl.F_SETPIPE_SZ, 4096)
        return ends

    monkeypatch.setattr(_worker_connection, "pipe", pipe)


def test_a_full_pipe_refuses_calls_and_does_not_wait(small_pipes: None) -> None:
    class Recorded:
        def __init__(self) -> None:
            self.function = self.future = self
            self.number = 0
            self.data = b""
            self.buffers = ()

    worker = WorkerConnection(max_tasks=2 * MOST_CALLS)
    try:
        first: list[Any] = [Recorded() for _ in range(MOST_CALLS)]
        assert worker.give(first) == []
        # The worker takes all but one, whose page is used up by the next calls.
        os.read(worker.tokens, NUMBER.size * (MOST_CALLS - 1))
        second: list[Any] = [Recorded() for _ in range(MOST_CALLS)]
        assert worker.give(second) == []
        third: list[Any] = [Recorded(), Recorded()]
        assert worker.give(third) == third
        assert list(worker.calls.values()) == first + second
        assert worker.tasks_left == 0
        assert worker.reclaim(MOST_CALLS + 1) == [first[-1], *second]
        assert worker.give(third) == []
    finally:
        worker.close()


def test_many_short_calls_run_once_each_with_small_pipes(small_pipes: None, small_buffers: None) -> None:
    with ProcessPoolExecutor(2) as executor:
        assert list(executor.map(add, range(5000))) == list(range(1, 5001))


def deaf_family(folder: Path) -> None:
    family(folder, deaf=True)


@pytest.fixture(params=[False, True], ids=["", "deaf"])
def endless(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[dict[str, Any]]:
    """Return an initializer that never ends, and has a family; nothing of it may be left."""
    yield {"initializer": deaf_family if request.param else family, "initargs": (tmp_path,)}
    assert not [path.name for path in tmp_path.iterdir() if Path("/proc", path.name, "exe").exists()]


def have_begun(folder: Path, number: int = 1) -> Callable[[], bool]:
    return lambda: len(list(folder.iterdir())) == 4 * number


@pytest.mark.parametrize("wait", [False, True])
def test_a_run_ends_while_an_initializer_runs(
    wait: bool, endless: dict[str, Any], tmp_path: Path, until, monkeypatch
) -> None:
    monkeypatch.setattr(_fork_server, "GRACE", 0.3)
    scheduler = Scheduler.with_processes(2, **endless)
    cancelled: list[object] = []

    def stop() -> None:
        until(have_begun(tmp_path, 2))
        scheduler.stop()

    scheduler.on_start(lambda: [scheduler.submit(add, 1) for _ in range(3)])
    scheduler.on_start(lambda: scheduler.call_later(0, stop))
    scheduler.on_future_cancelled(cancelled.append)
    scheduler.run(wait=wait)
    assert len(cancelled) == 3


def test_killing_the_workers_ends_an_initializer(endless: dict[str, Any], tmp_path: Path, until, monkeypatch) -> None:
    monkeypatch.setattr(_fork_server, "GRACE", 0.3)
    executor = ProcessPoolExecutor(1, **endless)
    future = executor.submit(add, 1)
    until(have_begun(tmp_path))
    executor.kill_workers()
    assert future.cancelled()


def test_a_shutdown_that_cancels_all_calls_waits_for_no_initializer(
    endless: dict[str, Any], tmp_path: Path, until, monkeypatch
) -> None:
    monkeypatch.setattr(_fork_server, "GRACE", 0.3)
    executor = ProcessPoolExecutor(1, **endless)
    future = executor.submit(add, 1)
    until(have_begun(tmp_path))
    executor.shutdown(cancel_futures=True)
    assert future.cancelled()


def test_a_shutdown_that_cancels_what_waits_still_waits_for_what_runs(tmp_path: Path, until, monkeypatch) -> None:
    monkeypatch.setattr(_fork_server, "GRACE", 0.3)

    def begin(folder: Path) -> None:
        try:
            (folder / "first").touch(exist_ok=False)
        except FileExistsError:
            (folder / "second").touch()
            time.sleep(600)

    executor = ProcessPoolExecutor(2, initializer=begin, initargs=(tmp_path,))
    running = executor.submit(wait_for, tmp_path / "gate", "x")
    until((tmp_path / "began-x").exists)
    waiting = executor.submit(add, 1)
    until((tmp_path / "second").exists)
    executor.shutdown(wait=False, cancel_futures=True)
    until(waiting.cancelled)
    (tmp_path / "gate").touch()
    assert isinstance(running.result(timeout=20), int)
    executor.shutdown()


def test_a_shutdown_that_cancels_nothing_waits_for_the_initializer_and_the_calls(tmp_path: Path, until) -> None:
    executor = ProcessPoolExecutor(1, initializer=wait_for, initargs=(tmp_path / "gate", "x"))
    future = executor.submit(add, 1)
    until((tmp_path / "began-x").exists)
    executor.shutdown(wait=False)
    (tmp_path / "gate").touch()
    assert future.result(timeout=20) == 2
    executor.shutdown()


@pytest.mark.parametrize("end", ["kill_workers", "shutdown"])
def test_the_end_comes_while_the_data_of_an_initializer_is_sent(end: str, until, monkeypatch) -> None:
    monkeypatch.setattr(_fork_server, "GRACE", 0.3)
    sending = threading.Event()

    def flush(worker: WorkerConnection) -> bool:
        flushed = really_flush(worker)
        if not flushed:
            sending.set()
        return flushed

    really_flush = WorkerConnection.flush
    monkeypatch.setattr(WorkerConnection, "flush", flush)
    executor = ProcessPoolExecutor(1, initializer=nothing, initargs=(bytes(100_000_000),))
    future = executor.submit(add, 1)
    assert sending.wait(20)
    if end == "shutdown":
        executor.shutdown(cancel_futures=True)
    else:
        executor.kill_workers()
    assert future.cancelled() or future.result(timeout=0) == 2


def test_a_call_of_a_run_that_ends_at_once_is_cancelled_and_no_death(tmp_path: Path, until) -> None:
    scheduler = Scheduler.with_processes(1, initializer=wait_for, initargs=(tmp_path / "gate", "x"))
    ends: list[object] = []

    def stop() -> None:
        until((tmp_path / "began-x").exists)
        scheduler.stop()

    scheduler.on_start(lambda: scheduler.submit(add, 1))
    scheduler.on_start(lambda: scheduler.call_later(0, stop))
    scheduler.on_future_cancelled(lambda _: ends.append("cancelled"))
    scheduler.on_future_exception(lambda _, error: ends.append(error))
    scheduler.run(wait=False)
    assert ends == ["cancelled"]


SCRIPT = """
import os, pathlib, signal, sys, time
from amltk import Scheduler

def begin(folder):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    pathlib.Path(folder, str(os.getpid())).touch()
    time.sleep(600)

scheduler = Scheduler.with_processes(2, initializer=begin, initargs=(sys.argv[1],))
scheduler.on_start(lambda: scheduler.submit(len, "abc"))
scheduler.run()
"""


def test_one_ctrl_c_ends_a_run_while_an_initializer_runs(tmp_path: Path, until, lives) -> None:
    with subprocess.Popen([sys.executable, "-c", SCRIPT, tmp_path], stderr=subprocess.PIPE, text=True) as main:
        until(lambda: list(tmp_path.iterdir()))
        main.send_signal(signal.SIGINT)
        _, err = main.communicate(timeout=30)
    assert err.splitlines()[-1] == "KeyboardInterrupt"
    assert not any(lives(int(path.name)) for path in tmp_path.iterdir())


def test_an_initializer_that_dies_while_its_data_is_sent_breaks_the_pool() -> None:
    class Deadly:
        def __reduce__(self) -> tuple[Callable[..., object], tuple[Any, ...]]:
            return os._exit, (7,)

    with ProcessPoolExecutor(1, initializer=nothing, initargs=(Deadly(), bytes(10_000_000))) as executor:
        error = executor.submit(add, 1).exception(timeout=20)
    assert error is not None
    assert isinstance(error.__cause__, WorkerDied)
