"""Measurements of the scheduler alone, with an executor that runs each call at once."""

from __future__ import annotations

import gc
import time
import tracemalloc
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, as_completed
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from calls import identity
from instant import InstantExecutor

from amltk import Scheduler

BURST = 5_000
CHAIN = 3_000
FEW, MANY = 2_000, 100_000


def _expect(results: list[int], calls: int) -> None:
    if sum(results) != calls * (calls - 1) // 2 or len(results) != calls:
        msg = f"{calls} calls gave {len(results)} results, or wrong ones."
        raise RuntimeError(msg)


@contextmanager
def instant_scheduler() -> Iterator[Scheduler]:
    """Make a scheduler with an executor that is closed afterwards."""
    with InstantExecutor() as executor:
        yield Scheduler(executor=executor)


# Many calls at once


def burst_ours(make: Callable[[], AbstractContextManager[Scheduler]], calls: int) -> float:
    """Return the duration of a run that submits all `calls` at its start, with its start and end, in seconds."""
    gc.collect()
    start = time.perf_counter()
    _burst_ours(make, calls)
    return time.perf_counter() - start


def burst_raw(make: Callable[[], Executor], calls: int) -> float:
    """Return the duration of the same calls with the executor alone, in seconds."""
    gc.collect()
    start = time.perf_counter()
    _burst_raw(make, calls)
    return time.perf_counter() - start


def instant_burst_ours() -> float:
    """Return the seconds from the first submission to the last result; the executor is up."""
    gc.collect()
    return _burst_ours(instant_scheduler, BURST)


def instant_burst_raw() -> float:
    """Return the same for the executor alone."""
    gc.collect()
    return _burst_raw(InstantExecutor, BURST)


def _burst_ours(make: Callable[[], AbstractContextManager[Scheduler]], calls: int) -> float:
    results: list[int] = []
    began = ended = 0.0
    with make() as scheduler:
        task = scheduler.task(identity)

        @scheduler.on_start
        def submit_all() -> None:
            nonlocal began
            began = time.perf_counter()
            for value in range(calls):
                task(value)

        @task.on_result
        def keep(_: Any, result: int) -> None:
            nonlocal ended
            results.append(result)
            if len(results) == calls:
                ended = time.perf_counter()

        scheduler.run()
    _expect(results, calls)
    return ended - began


def _burst_raw(make: Callable[[], Executor], calls: int) -> float:
    results: list[int] = []
    with make() as executor:
        began = time.perf_counter()
        for future in as_completed([executor.submit(identity, value) for value in range(calls)]):
            results.append(future.result())  # noqa: PERF401 - a callback appends too
        ended = time.perf_counter()
    _expect(results, calls)
    return ended - began


# One call after the other


def chain_ours() -> float:
    """Return the duration of a run in which each result leads to the next call, in seconds."""
    results: list[int] = []
    gc.collect()
    start = time.perf_counter()
    with instant_scheduler() as scheduler:
        task = scheduler.task(identity)

        @scheduler.on_start
        def begin() -> None:
            task(0)

        @task.on_result
        def go_on(_: Any, result: int) -> None:
            results.append(result)
            if result + 1 < CHAIN:
                task(result + 1)

        scheduler.run()
    seconds = time.perf_counter() - start
    _expect(results, CHAIN)
    return seconds


def chain_raw() -> float:
    """Return the duration of the same calls with the executor alone, in seconds."""
    results: list[int] = []
    gc.collect()
    start = time.perf_counter()
    with InstantExecutor() as executor:
        result = -1
        while result + 1 < CHAIN:
            result = executor.submit(identity, result + 1).result()
            results.append(result)
    seconds = time.perf_counter() - start
    _expect(results, CHAIN)
    return seconds


# Many calls in the queue


def queued_ours(calls: int, *, reverse: bool) -> float:
    """Return the seconds per call, from the first submission to the last result; all calls queue before the first ends.

    The cost of the run itself is left out, as it would favour the long queue.
    """
    results: list[int] = []
    began = ended = 0.0
    gc.collect()
    with InstantExecutor(held=True, reverse=reverse) as executor:
        scheduler = Scheduler(executor=executor)
        task = scheduler.task(identity)

        @scheduler.on_start
        def submit_all() -> None:
            nonlocal began
            began = time.perf_counter()
            for value in range(calls):
                task(value)
            executor.release()

        @task.on_result
        def keep(_: Any, result: int) -> None:
            nonlocal ended
            results.append(result)
            if len(results) == calls:
                ended = time.perf_counter()

        scheduler.run()
    _expect(results, calls)
    return (ended - began) / calls


def queued_raw(calls: int) -> float:
    """Return the same for the executor alone."""
    results: list[int] = []
    gc.collect()
    with InstantExecutor(held=True) as executor:
        began = time.perf_counter()
        futures = [executor.submit(identity, value) for value in range(calls)]
        executor.release()
        for future in as_completed(futures):
            results.append(future.result())  # noqa: PERF401 - a callback appends too
        ended = time.perf_counter()
    _expect(results, calls)
    return (ended - began) / calls


def short_queues(measure: Callable[[int], float]) -> float:
    """Measure the short queue several times, as a single run of it is too short."""
    repeats = 10
    return sum(measure(FEW) for _ in range(repeats)) / repeats


# Memory


def memory_ours() -> float:
    """Return the allocated kB per queued call."""
    used = 0
    gc.collect()
    with InstantExecutor(held=True) as executor:
        scheduler = Scheduler(executor=executor)
        task = scheduler.task(identity)
        task.on_result(lambda _, __: None)

        @scheduler.on_start
        def submit_all() -> None:
            nonlocal used
            tracemalloc.start()
            for value in range(MANY):
                task(value)
            used = tracemalloc.get_traced_memory()[0]
            tracemalloc.stop()
            executor.release()

        scheduler.run()
    return used / MANY / 1000


def memory_raw() -> float:
    """Return the same for the executor alone."""
    gc.collect()
    with InstantExecutor(held=True) as executor:
        tracemalloc.start()
        futures: set[Future[int]] = {executor.submit(identity, value) for value in range(MANY)}
        used = tracemalloc.get_traced_memory()[0]
        tracemalloc.stop()
    del futures
    return used / MANY / 1000
