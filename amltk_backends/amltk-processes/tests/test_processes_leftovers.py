"""What a call leaves behind in its worker does not fail the next one, nor the idle worker."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from calls_for_processes import pid

from amltk.exceptions import WorkerDied
from amltk_processes import ProcessPoolExecutor

SIGNALS = (signal.SIGALRM, signal.SIGCHLD, signal.SIGINT, signal.SIGPIPE, signal.SIGTERM)


@pytest.fixture
def executor() -> Iterator[ProcessPoolExecutor]:
    with ProcessPoolExecutor(1) as executor:
        yield executor


def outlive(executor: ProcessPoolExecutor, call: Callable[..., Any], *args: Any) -> None:
    """Have the worker do this, and see that it lives on, idle and busy, longer than what it has set."""
    worker = executor.submit(pid).result(timeout=20)
    future = executor.submit(call, *args)
    behind = executor.submit(time.sleep, 0.1)
    future.exception(timeout=20)
    behind.result(timeout=20)
    future = executor.submit(call, *args)
    future.exception(timeout=20)
    time.sleep(0.1)
    assert executor.submit(pid).result(timeout=20) == worker


def raise_from(number: int, frame: object) -> None:
    raise TimeoutError(number)


@pytest.mark.parametrize("timer", [signal.ITIMER_REAL, signal.ITIMER_VIRTUAL, signal.ITIMER_PROF])
@pytest.mark.parametrize("handler", [signal.SIG_DFL, raise_from])
@pytest.mark.parametrize("fails", [False, True])
def test_timers_are_stopped(executor: ProcessPoolExecutor, timer: int, handler: Any, fails: bool) -> None:
    def leave() -> None:
        numbers = {
            signal.ITIMER_REAL: signal.SIGALRM,
            signal.ITIMER_VIRTUAL: signal.SIGVTALRM,
            signal.ITIMER_PROF: signal.SIGPROF,
        }
        signal.signal(numbers[timer], handler)
        signal.setitimer(timer, 0.05, 0.05)
        assert not fails

    def work() -> None:
        end = time.process_time() + 0.1
        while time.process_time() < end:
            pass

    outlive(executor, leave)
    executor.submit(work).result(timeout=20)


def test_an_alarm_is_cleared(executor: ProcessPoolExecutor) -> None:
    executor.submit(signal.alarm, 1)
    assert executor.submit(time.sleep, 1.2).result(timeout=20) is None
    assert executor.submit(signal.alarm, 0).result(timeout=20) == 0


def test_an_alarm_of_an_initializer_is_cleared() -> None:
    with ProcessPoolExecutor(1, initializer=signal.alarm, initargs=(1,)) as executor:
        assert executor.submit(signal.alarm, 0).result(timeout=20) == 0


@pytest.mark.parametrize("handler", [signal.SIG_DFL, raise_from])
@pytest.mark.parametrize("then", ["nothing", "unblock"])
def test_a_signal_that_waits_to_be_unblocked_is_dropped(executor: ProcessPoolExecutor, handler: Any, then: str) -> None:
    def leave() -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGALRM, signal.SIGUSR1, signal.SIGINT})
        for number in (signal.SIGALRM, signal.SIGUSR1, signal.SIGINT):
            signal.signal(number, handler)
            os.kill(os.getpid(), number)

    def look() -> tuple[set[int], set[int]]:
        if then == "unblock":
            signal.pthread_sigmask(signal.SIG_SETMASK, ())
        return signal.sigpending(), signal.pthread_sigmask(signal.SIG_BLOCK, ())

    outlive(executor, leave)
    assert executor.submit(look).result(timeout=20) == (set(), set())


def test_a_handler_that_raises_as_the_call_ends_fails_that_call_alone(executor: ProcessPoolExecutor) -> None:
    def leave(before: float) -> None:
        signal.signal(signal.SIGALRM, raise_from)
        end = time.monotonic() + 0.0005 - before
        signal.setitimer(signal.ITIMER_REAL, 0.0005)
        while time.monotonic() < end:
            pass

    worker = executor.submit(pid).result(timeout=20)
    for number in range(300):
        error = executor.submit(leave, number * 1e-6).exception(timeout=20)
        assert error is None or isinstance(error, TimeoutError)
        assert executor.submit(pid).result(timeout=20) == worker


def test_a_request_to_end_that_waits_to_be_unblocked_is_not_dropped(executor: ProcessPoolExecutor) -> None:
    def leave() -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        os.kill(os.getpid(), signal.SIGTERM)

    worker = executor.submit(pid).result(timeout=20)
    error = executor.submit(leave).exception(timeout=20)
    assert isinstance(error, WorkerDied)
    assert error.signal == signal.SIGTERM
    assert executor.submit(pid).result(timeout=20) != worker


def test_a_directory_that_a_call_changed_to_and_deleted(executor: ProcessPoolExecutor) -> None:
    def leave() -> None:
        folder = tempfile.mkdtemp()
        os.chdir(folder)
        shutil.rmtree(folder)

    executor.submit(leave).result(timeout=20)
    assert executor.submit(os.getcwd).result(timeout=20) == str(Path.cwd())
    executor.submit(lambda: (leave(), 1 / 0)).exception(timeout=20)
    assert executor.submit(os.getcwd).result(timeout=20) == str(Path.cwd())


def test_what_an_initializer_has_set_stays(tmp_path) -> None:
    def begin(folder: str) -> None:
        os.chdir(folder)
        signal.signal(signal.SIGTERM, raise_from)
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR2})

    def look() -> tuple[Any, ...]:
        handlers = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGPIPE)]
        seen = str(Path.cwd()), [getattr(each, "__name__", each) for each in handlers]
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, ())
        os.chdir("/")
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        return *seen, mask

    with ProcessPoolExecutor(1, initializer=begin, initargs=(str(tmp_path),)) as executor:
        for _ in range(3):
            seen = executor.submit(look).result(timeout=20)
            assert seen == (str(tmp_path), ["raise_from", signal.SIG_DFL], {signal.SIGUSR2})


@pytest.mark.parametrize("handler", [signal.SIG_IGN, signal.SIG_DFL, raise_from])
def test_handlers_are_set_back(executor: ProcessPoolExecutor, handler: Any) -> None:
    def look() -> list[Any]:
        return [signal.getsignal(number) for number in SIGNALS]

    def leave() -> None:
        for number in SIGNALS:
            signal.signal(number, handler)

    before = executor.submit(look).result(timeout=20)
    executor.submit(leave).result(timeout=20)
    assert executor.submit(look).result(timeout=20) == before


def test_exit_codes_of_what_the_next_call_starts_are_right(executor: ProcessPoolExecutor) -> None:
    def start() -> int:
        return subprocess.run([sys.executable, "-c", "import sys; sys.exit(3)"], check=False).returncode

    executor.submit(signal.signal, signal.SIGCHLD, signal.SIG_IGN).exception(timeout=20)
    assert executor.submit(start).result(timeout=20) == 3


def test_a_closed_pipe_does_not_kill_the_next_call(executor: ProcessPoolExecutor) -> None:
    def leave() -> None:
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)

    def write() -> str:
        read, write = os.pipe()
        os.close(read)
        try:
            os.write(write, b"!")
        except BrokenPipeError:
            return "broken"
        finally:
            os.close(write)
        return "written"

    executor.submit(leave).result(timeout=20)
    assert executor.submit(write).result(timeout=20) == "broken"
