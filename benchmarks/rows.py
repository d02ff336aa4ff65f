"""The rows of the table. Each is a quotient of two measurements, or one measurement, with an upper limit.

Unless its function states otherwise, each measurement has an executor of its own, starts from a collected heap, leaves
the garbage collector on, and uses every result. It lasts from before the executor is made until it is closed.
"""

from __future__ import annotations

import gc
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, as_completed
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import installed
import processes
import psutil
import ray_calls
from calls import identity
from instant import InstantExecutor

from amltk import Scheduler

Measurement = Callable[[], float]

BURST = 5_000
CHAIN = 3_000
FEW, MANY = 2_000, 100_000
TIMEOUT_SECONDS = 1.0


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes:
        name: The name for `--only`.
        what: The description in the table.
        ours: The measurement to judge.
        base: The divisor, measured in turns with `ours`; if `divide` is False, it is only shown.
        unit: The unit of `ours` and `base`: "s" or "kB".
        at_most: The allowed value; None for a row that only helps to explain others.
        divide: Whether the value is `ours` divided by `base`, or `ours` alone.
    """

    name: str
    what: str
    ours: Measurement
    base: Measurement | None
    unit: str
    at_most: float | None
    divide: bool = True


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


def _mean(measure: Callable[[int], float]) -> float:
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


# Import


def whole_process(code: str) -> float:
    """Return the mean duration of a Python process that runs `code`, in seconds."""
    repeats = 5
    start = time.perf_counter()
    for _ in range(repeats):
        subprocess.run([sys.executable, "-c", code], check=True)
    return (time.perf_counter() - start) / repeats


OURS_ONCE = """
from amltk import Scheduler
scheduler = Scheduler.with_processes(2)
scheduler.on_start(lambda: scheduler.submit(abs, -1))
scheduler.run()
"""
FORKSERVER_ONCE = """
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
with ProcessPoolExecutor(2, mp_context=get_context("forkserver")) as executor:
    executor.submit(abs, -1).result()
"""


# Stopping


def overrun() -> float:
    """Return the seconds from the timeout of a run, whose two workers sleep, to its return.

    Raises:
        RuntimeError: A child process is left over, or one of the calls did not run.
    """
    before = set(psutil.Process().children(recursive=True))
    asleep: set[psutil.Process] = set()
    scheduler = Scheduler.with_processes(max_workers=2)
    task = scheduler.task(time.sleep)

    @scheduler.on_start
    def submit() -> None:
        task(60.0)
        task(60.0)

    @scheduler.on_timeout
    def look() -> None:
        asleep.update(set(psutil.Process().children(recursive=True)) - before)

    start = time.perf_counter()
    scheduler.run(timeout=TIMEOUT_SECONDS, wait=False)
    seconds = time.perf_counter() - start - TIMEOUT_SECONDS
    left = [process for process in asleep if _lives(process)]
    left += set(psutil.Process().children(recursive=True)) - before
    if left or len(asleep) < 2:
        msg = f"Child processes were left over: {left}, started: {asleep}."
        raise RuntimeError(msg)
    return seconds


def _lives(process: psutil.Process) -> bool:
    """Return whether a process lives; False for a zombie that init has not reaped yet."""
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


ROWS = (
    Row(
        "burst",
        f"{BURST:,} calls at once, instant / raw",
        instant_burst_ours,
        instant_burst_raw,
        "s",
        1.4,
    ),
    Row(
        "queue",
        f"a call of {MANY:,} queued / of {FEW:,}",
        lambda: queued_ours(MANY, reverse=False),
        lambda: _mean(lambda calls: queued_ours(calls, reverse=False)),
        "s",
        1.15,
    ),
    Row(
        "queue-reverse",
        "the same, they end in reverse order",
        lambda: queued_ours(MANY, reverse=True),
        lambda: _mean(lambda calls: queued_ours(calls, reverse=True)),
        "s",
        1.15,
    ),
    Row(
        "queue-raw",
        "the same, raw / raw",
        lambda: queued_raw(MANY),
        lambda: _mean(queued_raw),
        "s",
        None,
    ),
    Row("chain", f"chain of {CHAIN:,} calls, instant / raw", chain_ours, chain_raw, "s", 1.25),
    Row(
        "processes",
        f"{processes.BURST:,} calls at once, processes / raw",
        processes.burst_ours,
        processes.burst_raw,
        "s",
        0.13,
    ),
    Row(
        "processes-whole",
        "the same with start and end, with_processes / raw",
        lambda: burst_ours(lambda: nullcontext(Scheduler.with_processes(max_workers=2)), BURST),
        lambda: burst_raw(processes.raw, BURST),
        "s",
        None,
    ),
    Row(
        "processes-chain",
        f"chain of {processes.CHAIN:,} calls, processes / raw",
        processes.chain_ours,
        processes.chain_raw,
        "s",
        0.7,
    ),
    Row(
        "processes-sleep",
        f"{processes.SLEEPS} calls of 10 ms, processes / ideal",
        processes.sleeps_ours,
        processes.sleeps_ideal,
        "s",
        1.05,
    ),
    Row(
        "processes-arrays",
        f"{processes.ARRAYS} results of {processes.MEGABYTES} MB, processes / raw",
        processes.arrays_ours,
        processes.arrays_raw,
        "s",
        1.0,
    ),
    Row(
        "processes-first",
        "first result of a pool, ours / forkserver's",
        lambda: processes.first_result("ours"),
        lambda: processes.first_result("forkserver"),
        "s",
        1.5,
    ),
    Row(
        "processes-successor",
        "a worker's death to its successor's first call",
        processes.successor,
        None,
        "s",
        0.3,
        divide=False,
    ),
    Row(
        "processes-loop",
        f"how long a result of {processes.LARGE} MB holds the loop up",
        processes.held_up,
        None,
        "s",
        0.25,
        divide=False,
    ),
    Row(
        "ray", f"{ray_calls.BURST:,} calls at once, with_ray / Ray's futures", ray_calls.ours, ray_calls.raw, "s", 1.15
    ),
    Row(
        "memory",
        f"memory a call, {MANY:,} queued (beside it: raw)",
        memory_ours,
        memory_raw,
        "kB",
        2.5,
        divide=False,
    ),
    Row(
        "import",
        "process: import amltk / asyncio, concurrent.futures",
        lambda: whole_process("import amltk"),
        lambda: whole_process("import asyncio, concurrent.futures"),
        "s",
        1.25,
    ),
    Row(
        "program",
        "process: with_processes(2), one call / forkserver's",
        lambda: whole_process(OURS_ONCE),
        lambda: whole_process(FORKSERVER_ONCE),
        "s",
        1.15,
    ),
    Row(
        "installed-import",
        "process: import amltk, 300 installed / 3",
        lambda: installed.whole_process("import amltk", 300, 40),
        lambda: installed.whole_process("import amltk", 3, 1),
        "s",
        1.3,
    ),
    Row(
        "installed",
        "process: with_threads(), the same",
        lambda: installed.whole_process("from amltk import Scheduler; Scheduler.with_threads()", 300, 40),
        lambda: installed.whole_process("from amltk import Scheduler; Scheduler.with_threads()", 3, 1),
        "s",
        1.3,
    ),
    Row(
        "stop",
        f"run(timeout={TIMEOUT_SECONDS:g}, wait=False): beyond {TIMEOUT_SECONDS:g} s",
        overrun,
        None,
        "s",
        0.5,
        divide=False,
    ),
)
