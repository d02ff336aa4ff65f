"""Measurements of processes: the scheduler with its own pool, compared with the standard library's pool.

Run as a program, `processes.py ours` or `processes.py forkserver` prints the time to a pool's first result.
"""

from __future__ import annotations

import asyncio
import gc
import multiprocessing
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from typing import Any

import calls

from amltk import Scheduler

WORKERS = 2
BURST = 5_000
CHAIN = 1_000
SLEEPS = 400
ARRAYS, MEGABYTES = 64, 8
LARGE = 300


def ours() -> Executor:
    """Make amltk's pool."""
    from amltk_processes import ProcessPoolExecutor as Ours

    return Ours(WORKERS)


def raw() -> ProcessPoolExecutor:
    """Make the standard library's pool."""
    return ProcessPoolExecutor(max_workers=WORKERS)


@contextmanager
def up(make: Callable[[], Executor]) -> Iterator[Executor]:
    """Make a pool whose workers have all run calls: other rows measure its start and end."""
    with make() as executor:
        for future in [executor.submit(calls.ten_milliseconds, value) for value in range(4 * WORKERS)]:
            future.result()
        for future in [executor.submit(calls.identity, value) for value in range(4 * WORKERS)]:
            future.result()
        yield executor


def _run(begin: Callable[[Any], None], keep: Callable[[Any, Any], None], function: Callable[[int], Any]) -> float:
    """Return the duration of a run on workers that are up, in seconds; `keep` gets the task and each result."""
    with up(ours) as executor:
        gc.collect()
        start = time.perf_counter()
        scheduler = Scheduler(executor=executor)
        task = scheduler.task(function)
        scheduler.on_start(lambda: begin(task))
        task.on_result(lambda _, result: keep(task, result))
        scheduler.run()
        return time.perf_counter() - start


def _check(results: list[int], count: int) -> None:
    if sorted(results) != list(range(count)):
        msg = f"{count} calls gave {len(results)} results, or wrong ones."
        raise RuntimeError(msg)


def burst_ours() -> float:
    """Return the duration of a run that submits all calls at its start, in seconds."""
    results: list[int] = []

    def begin(task: Any) -> None:
        for value in range(BURST):
            task(value)

    seconds = _run(begin, lambda _, result: results.append(result), calls.identity)
    _check(results, BURST)
    return seconds


def burst_raw() -> float:
    """Return the duration of the same calls with the standard pool, in seconds."""
    with up(raw) as executor:
        gc.collect()
        start = time.perf_counter()
        futures = [executor.submit(calls.identity, value) for value in range(BURST)]
        results = [future.result() for future in as_completed(futures)]
        seconds = time.perf_counter() - start
    _check(results, BURST)
    return seconds


def chain_ours() -> float:
    """Return the duration of a run in which each result leads to the next call, in seconds."""
    results: list[int] = []

    def go_on(task: Any, result: int) -> None:
        results.append(result)
        if result + 1 < CHAIN:
            task(result + 1)

    seconds = _run(lambda task: task(0), go_on, calls.identity)
    _check(results, CHAIN)
    return seconds


def chain_raw() -> float:
    """Return the duration of the same calls with the standard pool, in seconds."""
    with up(raw) as executor:
        gc.collect()
        start = time.perf_counter()
        results = [executor.submit(calls.identity, value).result() for value in range(CHAIN)]
        seconds = time.perf_counter() - start
    _check(results, CHAIN)
    return seconds


def sleeps_ours() -> float:
    """Return the duration of calls of 10 ms, in seconds."""
    results: list[int] = []

    def begin(task: Any) -> None:
        for value in range(SLEEPS):
            task(value)

    seconds = _run(begin, lambda _, result: results.append(result), calls.ten_milliseconds)
    _check(results, SLEEPS)
    return seconds


def sleeps_ideal() -> float:
    """Return their duration without any overhead, in seconds."""
    return SLEEPS * 0.01 / WORKERS


def arrays_ours() -> float:
    """Return the time to compute and receive arrays, in seconds."""
    sums: list[float] = []

    def begin(task: Any) -> None:
        for _ in range(ARRAYS):
            task(MEGABYTES)

    seconds = _run(begin, lambda _, result: sums.append(result[-1]), calls.array)
    _check([int(value) - 1 + index for index, value in enumerate(sums)], ARRAYS)
    return seconds


def arrays_raw() -> float:
    """Return the time of the same calls with the standard pool, in seconds."""
    with up(raw) as executor:
        gc.collect()
        start = time.perf_counter()
        futures = {executor.submit(calls.array, MEGABYTES) for _ in range(ARRAYS)}
        sums = []
        for future in as_completed(futures):
            futures.remove(future)
            sums.append(future.result()[-1])
        seconds = time.perf_counter() - start
    _check([int(value) - 1 + index for index, value in enumerate(sums)], ARRAYS)
    return seconds


def held_up() -> float:
    """Return the longest delay of a run's loop while it receives a result of 300 MB, in seconds."""
    longest = 0.0

    async def tick() -> None:
        nonlocal longest
        while True:
            before = time.perf_counter()
            await asyncio.sleep(0.001)
            longest = max(longest, time.perf_counter() - before)

    async def main() -> None:
        scheduler = Scheduler.with_processes(max_workers=1)
        scheduler.on_start(lambda: scheduler.submit(calls.array, LARGE))
        ticking = asyncio.create_task(tick())
        await scheduler.async_run()
        ticking.cancel()

    asyncio.run(main())
    return longest


def successor() -> float:
    """Return the time from a worker's death to the start of the next call on its successor, in seconds."""
    began = ended = 0.0
    scheduler = Scheduler.with_processes(max_workers=1)
    death = scheduler.task(calls.die)
    following = scheduler.task(calls.when)

    @scheduler.on_start
    def begin() -> None:
        following(0)

    @following.on_result
    def keep(_: Any, when: float) -> None:
        nonlocal began, ended
        if began == 0.0:
            began = when  # the worker dies right after this
            death(0)
            following(0)
        else:
            ended = when

    scheduler.run(on_exception="ignore")
    if not ended:
        msg = "The call after the worker's death did not run."
        raise RuntimeError(msg)
    return ended - began


def first_result(which: str) -> float:
    """Return the time to the first result in a fresh program, whose fork server is new too, in seconds."""
    command = [sys.executable, __file__, which]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def _first_result(make: Callable[[], Executor]) -> float:
    start = time.perf_counter()
    with make() as executor:
        executor.submit(calls.identity, 0).result()
        return time.perf_counter() - start


def _forkserver() -> Executor:
    return ProcessPoolExecutor(WORKERS, mp_context=multiprocessing.get_context("forkserver"))


if __name__ == "__main__":
    print(_first_result({"ours": ours, "forkserver": _forkserver}[sys.argv[1]]))
