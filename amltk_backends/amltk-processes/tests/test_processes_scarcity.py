"""What is scarce fails a call at most: descriptors, memory, threads, processes."""

from __future__ import annotations

import contextlib
import errno
import logging
import multiprocessing
import os
import resource
import signal
import threading
import time
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

import pytest
from calls_for_processes import add, hang, log, wait_for

from amltk.backend import CallOptions
from amltk.exceptions import CallTimeoutError, WorkerDied, WorkerLost
from amltk.remote import process_tree
from amltk_processes import BrokenProcessPool, ProcessPoolExecutor, _fork_server


@contextlib.contextmanager
def no_free_descriptor() -> Iterator[None]:
    """Nothing can be opened, and what is closed meanwhile doesn't help."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


@pytest.mark.parametrize("deaf", [False, True])
def test_a_call_is_cancelled_without_a_free_descriptor(tmp_path: Path, until, lives, monkeypatch, deaf: bool) -> None:
    monkeypatch.setattr(_fork_server, "GRACE", 0.2)
    with ProcessPoolExecutor(1) as executor:
        running = executor.submit(hang, tmp_path, deaf)
        until((tmp_path / "began").exists)
        worker = int((tmp_path / "pid").read_text())
        with no_free_descriptor():
            assert running.cancel()
            deadline = time.monotonic() + 20
            while lives_without_descriptors(worker) and time.monotonic() < deadline:
                time.sleep(0.01)
        assert not lives(worker)
        assert executor.submit(add, 1).result() == 2


def lives_without_descriptors(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_a_call_is_ended_in_time_without_a_free_descriptor(tmp_path: Path, lives) -> None:
    with ProcessPoolExecutor(1) as executor:
        executor.submit(add, 1).result()
        overdue = executor.submit_call(hang, (tmp_path,), {}, CallOptions(timeout=0.5))
        with no_free_descriptor():
            error = overdue.exception()
        assert isinstance(error, CallTimeoutError)
        assert "was ended" in str(error)
        assert not lives(int((tmp_path / "pid").read_text()))
        assert executor.submit(add, 1).result() == 2


def test_all_calls_are_killed_without_a_free_descriptor(tmp_path: Path, until, lives) -> None:
    with ProcessPoolExecutor(1) as executor:
        running = executor.submit(hang, tmp_path)
        until((tmp_path / "began").exists)
        with no_free_descriptor():
            executor.kill_calls()
        assert isinstance(running.exception(timeout=0), WorkerDied)
        assert not lives(int((tmp_path / "pid").read_text()))


def test_a_silent_worker_is_ended_without_a_free_descriptor(tmp_path: Path, until, lives) -> None:
    with ProcessPoolExecutor(1, heartbeat_timeout=0.5) as executor:
        running = executor.submit(hang, tmp_path)
        until((tmp_path / "began").exists)
        worker = int((tmp_path / "pid").read_text())
        with no_free_descriptor():
            os.kill(worker, signal.SIGSTOP)
            assert isinstance(running.exception(), WorkerLost)
        assert not lives(worker)


def test_what_was_not_ended_is_not_said_to_be(monkeypatch, tmp_path: Path) -> None:
    def in_vain(*_: object) -> bool:
        return False

    with ProcessPoolExecutor(1) as executor:
        executor.submit(add, 1).result()
        monkeypatch.setattr(process_tree, "end_process_trees", in_vain)
        error = executor.submit_call(hang, (tmp_path,), {}, CallOptions(timeout=0.1)).exception()
        monkeypatch.undo()
        assert isinstance(error, CallTimeoutError)
        assert "was ended" not in str(error)
        assert "may still be there" in str(error)
        executor.kill_workers()


@pytest.mark.parametrize("failure", [MemoryError(), OSError("anything"), ImportError()])
def test_a_worker_ends_whatever_fails_while_it_is_ended(monkeypatch, tmp_path: Path, until, lives, failure) -> None:
    def fail(*_: object) -> bool:
        raise failure

    with ProcessPoolExecutor(1) as executor:
        running = executor.submit(hang, tmp_path)
        until((tmp_path / "began").exists)
        monkeypatch.setattr(process_tree, "end_process_trees", fail)
        assert running.cancel()
        worker = int((tmp_path / "pid").read_text())
        until(lambda: not lives(worker))
        assert executor.submit(add, 1).result() == 2


class Trouble:
    """Raises what only `BaseException` catches when it is shown."""

    def __repr__(self) -> str:
        raise KeyboardInterrupt


def sleep_with(_: object) -> None:
    time.sleep(600)


def kill_on_pipe_close(_: object) -> None:
    os._exit(3)


def test_a_limit_may_be_any_real_number() -> None:
    with ProcessPoolExecutor(1) as executor:
        error = executor.submit_call(time.sleep, (600,), {}, CallOptions(timeout=Fraction(1, 20))).exception(timeout=30)
        assert isinstance(error, CallTimeoutError)
        assert "0.05 s" in str(error)


def test_a_heartbeat_may_be_any_real_number(tmp_path: Path, until) -> None:
    with ProcessPoolExecutor(1, heartbeat_timeout=Fraction(1, 2)) as executor:
        running = executor.submit(hang, tmp_path)
        until((tmp_path / "began").exists)
        os.kill(int((tmp_path / "pid").read_text()), signal.SIGSTOP)
        error = running.exception(timeout=30)
        assert isinstance(error, WorkerLost)
        assert "0.5 s" in str(error)


def test_calls_end_that_nobody_can_describe() -> None:
    with ProcessPoolExecutor(1) as executor:
        overdue = executor.submit_call(sleep_with, (Trouble(),), {}, CallOptions(timeout=0.1))
        assert isinstance(overdue.exception(timeout=30), CallTimeoutError)
        assert isinstance(executor.submit(kill_on_pipe_close, Trouble()).exception(timeout=30), WorkerDied)
        killed = executor.submit(sleep_with, Trouble())
        while not killed.running():
            time.sleep(0.002)
        executor.kill_calls()
        assert killed.done()
        assert executor.submit(add, 1).result() == 2


@pytest.mark.parametrize("which", ["timed_out", "died"])
def test_calls_end_whose_error_cannot_be_made(monkeypatch, which: str) -> None:
    from amltk_processes import _call_killer, _pool

    def fail(*_: object, **__: object) -> BaseException:
        raise LookupError(which)

    monkeypatch.setattr(_call_killer if which == "timed_out" else _pool, which, fail)
    with ProcessPoolExecutor(1) as executor:
        if which == "timed_out":
            call = executor.submit_call(time.sleep, (600,), {}, CallOptions(timeout=0.1))
        else:
            call = executor.submit(kill_on_pipe_close, 1)
        assert isinstance(call.exception(timeout=30), LookupError)
        assert executor.submit(add, 1).result() == 2


class Unspeakable(Exception):  # noqa: N818 - short
    def __str__(self) -> str:
        raise ZeroDivisionError


def test_calls_end_when_the_pool_breaks_for_a_reason_that_nobody_can_say(tmp_path: Path) -> None:
    def fail() -> None:
        raise Unspeakable

    with ProcessPoolExecutor(1, initializer=fail) as executor:
        calls = [executor.submit(add, 1) for _ in range(3)]
        for call in calls:
            error = call.exception(timeout=30)
            assert isinstance(error, BrokenProcessPool)
            assert "Unspeakable" in str(error)


MEGABYTES = 200


@contextlib.contextmanager
def little_memory() -> Iterator[None]:
    """Less than a quarter of what a large result takes can be had."""
    limits = resource.getrlimit(resource.RLIMIT_AS)
    there = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (there + (MEGABYTES << 18), limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, limits)


def large_bytes() -> bytes:
    return bytes(MEGABYTES << 20)


def large_buffer() -> tuple[object, ...]:
    return bytearray(10), LargeBuffer(bytearray(MEGABYTES << 20))


class LargeBuffer:
    def __init__(self, data: bytearray) -> None:
        self.data = data

    def __reduce_ex__(self, _: object) -> tuple[object, ...]:
        import pickle

        return LargeBuffer, (pickle.PickleBuffer(self.data),)


@pytest.mark.parametrize("large", [large_bytes, large_buffer])
def test_a_result_larger_than_free_memory_fails_its_call_alone(
    tmp_path: Path, until, large: Callable[[], object]
) -> None:
    with ProcessPoolExecutor(2) as executor:
        innocent = executor.submit(wait_for, tmp_path / "gate", "x")
        until((tmp_path / "began-x").exists)
        with little_memory():
            calls = [executor.submit(large), executor.submit(add, 1), executor.submit(large), executor.submit(add, 2)]
            errors = [call.exception(timeout=60) for call in calls]
        (tmp_path / "gate").touch()
        assert isinstance(innocent.result(), int)
        for error in (errors[0], errors[2]):
            assert isinstance(error, MemoryError)
            assert large.__name__ in str(error)
        assert [calls[1].result(), calls[3].result()] == [2, 3]
        assert executor.submit(large).exception() is None


def limit_memory() -> None:
    there = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (there + (MEGABYTES << 18), resource.RLIM_INFINITY))


@pytest.mark.parametrize("large", [large_bytes, large_buffer])
def test_an_argument_larger_than_a_workers_memory_fails_its_call_alone(large: Callable[[], object]) -> None:
    with ProcessPoolExecutor(1, initializer=limit_memory) as executor:
        worker = executor.submit(os.getpid).result()
        error = executor.submit(id, large()).exception(timeout=60)
        assert isinstance(error, MemoryError)
        assert "not enough memory in the worker process" in str(error)
        assert executor.submit(os.getpid).result() == worker


def test_a_function_larger_than_a_workers_memory_fails_its_calls_alone() -> None:
    data = large_bytes()
    with ProcessPoolExecutor(1, initializer=limit_memory) as executor:
        for _ in range(2):
            assert isinstance(executor.submit(lambda: len(data)).exception(timeout=60), MemoryError)
        assert executor.submit(add, 1).result() == 2


@pytest.mark.parametrize("method", ["forkserver", "fork"])
def test_nothing_is_left_where_no_thread_can_be_started(monkeypatch, method: str) -> None:
    def start(thread: threading.Thread) -> None:
        if thread.name == "amltk-processes":
            msg = "can't start new thread"
            raise RuntimeError(msg)
        real(thread)

    real = threading.Thread.start
    monkeypatch.setattr(threading.Thread, "start", start)
    executor = ProcessPoolExecutor(1, multiprocessing.get_context(method))
    for _ in range(2):
        with pytest.raises(BrokenProcessPool, match="can't start new thread"):
            executor.submit(add, 1)
    executor.shutdown()  # that nothing is left is looked at after each test


def test_nothing_is_left_where_no_selector_can_be_made(monkeypatch) -> None:
    from amltk_processes import _pool

    def fail() -> None:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr(_pool, "_new_selector", fail)
    executor = ProcessPoolExecutor(1)
    with pytest.raises(BrokenProcessPool, match="Too many open files"):
        executor.submit(add, 1)
    executor.kill_workers()


def test_log_records_are_dropped_where_no_thread_can_be_started(monkeypatch) -> None:
    def start(thread: threading.Thread) -> None:
        if thread.name == "amltk-processes-logs":
            msg = "can't start new thread"
            raise RuntimeError(msg)
        real(thread)

    real = threading.Thread.start
    monkeypatch.setattr(threading.Thread, "start", start)
    with ProcessPoolExecutor(1) as executor:
        assert executor.submit(log, "a record", level=logging.WARNING).result() > 0
        assert executor.submit(add, 1).result() == 2
