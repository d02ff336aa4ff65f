"""`future.execution`: where and when a call ran, and that it is right whatever became of the call."""

from __future__ import annotations

import itertools
import os
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from calls_for_processes import add, nothing, pid, wait_for

from amltk.backend import CallOptions, Execution
from amltk.exceptions import CallTimeoutError, WorkerDied
from amltk_processes import ProcessPoolExecutor


def execution(future: Any) -> Execution:
    found = future.execution
    assert isinstance(found, Execution)
    return found


def until(condition: Callable[[], object]) -> None:
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.002)


def began_and_waits(folder: Path) -> int:
    (folder / "began").touch()
    wait_for(folder / "gate")
    return os.getpid()


def test_a_call_that_runs_has_begun_and_has_not_ended(tmp_path: Path) -> None:
    with ProcessPoolExecutor(1) as executor:
        running, waiting = executor.submit(began_and_waits, tmp_path), executor.submit(pid)
        until((tmp_path / "began").exists)
        until(lambda: execution(running).started)
        now = execution(running)
        assert (now.duration, now.ended) == (None, None)
        assert waiting.execution is None  # type: ignore[attr-defined] # it is one of ours
        (tmp_path / "gate").touch()
        assert now.pid == running.result() == execution(running).pid
        assert execution(waiting).pid == waiting.result()
    assert execution(running).ended is not None
    assert execution(running).started == pytest.approx(now.started, abs=0.5)


def test_short_calls_that_are_sent_ahead_run_one_after_the_other() -> None:
    with ProcessPoolExecutor(2) as executor:
        futures = [executor.submit(nothing) for _ in range(1_000)]
        for future in futures:
            future.result()
    by_worker = defaultdict(list)
    for future in futures:
        by_worker[execution(future).pid].append(execution(future))
    for executions in by_worker.values():
        executions.sort(key=lambda each: each.started or 0)
        for earlier, later in itertools.pairwise(executions):
            assert earlier.ended is not None
            assert later.started is not None
            assert earlier.ended <= later.started + 1e-3


def test_a_call_that_is_taken_back_has_the_execution_of_the_worker_that_ran_it(tmp_path: Path) -> None:
    with ProcessPoolExecutor(2) as executor:
        first = executor.submit(began_and_waits, tmp_path)
        until((tmp_path / "began").exists)
        for _ in range(3):
            pids = [executor.submit(pid) for _ in range(30)]
            ran_in = {future.result() for future in pids}
            assert {execution(future).pid for future in pids} == ran_in
        (tmp_path / "gate").touch()
        assert first.result() not in ran_in


def test_it_is_complete_when_the_future_is_resolved() -> None:
    seen: list[Execution | None] = []
    with ProcessPoolExecutor(2) as executor:
        for number in range(200):
            future: Any = executor.submit(divmod, number, number % 2)
            future.add_done_callback(lambda future: seen.append(future.execution))
    assert len(seen) == 200
    assert all(each is not None and each.duration is not None for each in seen)


def test_it_is_never_unknown_again_once_the_call_has_begun() -> None:
    unknown = 0
    with ProcessPoolExecutor(1) as executor:
        executor.submit(nothing).result()
        for _ in range(200):
            future: Any = executor.submit(nothing)
            known = False
            while not future.done():
                known, before = future.execution is not None, known
                unknown += before and not known
    assert not unknown


def test_a_call_whose_worker_died_tells_where_and_how_long_it_ran() -> None:
    with ProcessPoolExecutor(1) as executor:
        executor.submit(nothing).result()
        future = executor.submit(os._exit, 3)
        error = future.exception()
    assert isinstance(error, WorkerDied)
    assert execution(future).pid == error.pid
    assert execution(future).ended is not None


def test_a_call_that_took_too_long_tells_how_long() -> None:
    with ProcessPoolExecutor(1) as executor:
        future = executor.submit_call(time.sleep, (60,), {}, CallOptions(timeout=0.3))
        assert isinstance(future.exception(), CallTimeoutError)
    assert 0.3 <= (execution(future).duration or 0) < 30


def test_a_running_call_that_is_cancelled_tells_where_it_ran(tmp_path: Path) -> None:
    with ProcessPoolExecutor(1) as executor:
        future = executor.submit(began_and_waits, tmp_path)
        until((tmp_path / "began").exists)
        until(lambda: execution(future).started)
        assert future.cancel()
    assert execution(future).ended is not None


def test_a_call_that_was_never_begun_has_none(tmp_path: Path) -> None:
    with ProcessPoolExecutor(1) as executor:
        running, waiting = executor.submit(began_and_waits, tmp_path), executor.submit(pid)
        unpicklable = executor.submit(add, threading.Lock())
        until((tmp_path / "began").exists)
        assert waiting.cancel()
        (tmp_path / "gate").touch()
        running.result()
    assert unpicklable.exception() is not None
    assert waiting.execution is unpicklable.execution is None  # type: ignore[attr-defined] # they are ours


def test_an_initializer_does_not_count() -> None:
    with ProcessPoolExecutor(1, initializer=time.sleep, initargs=(0.5,)) as executor:
        future = executor.submit(nothing)
        future.result()
    assert (execution(future).duration or 1) < 0.5


def test_the_memory_of_a_call_that_is_not_short_is_known() -> None:
    with ProcessPoolExecutor(1) as executor:
        before = executor.submit(time.sleep, 0.01)
        before.result()
        after = executor.submit(fill, 100 << 20)
        after.result()
    least = execution(before).peak_memory
    assert least is not None
    assert (execution(after).peak_memory or 0) - least > 50 << 20


def fill(size: int) -> int:
    time.sleep(0.01)
    return len(bytearray(b"x") * size)
