"""Measurements of Ray: short calls through the scheduler, compared with the futures of Ray's own remote function."""

from __future__ import annotations

import atexit
import functools
import gc
import time
from concurrent.futures import as_completed
from typing import Any

import calls

from amltk import Scheduler

BURST = 1_000
WORKERS = 2


@functools.cache
def _cluster() -> None:
    """Start a cluster that all measurements share; it ends with the program."""
    from amltk_ray.executor import RayExecutor

    executor = RayExecutor(WORKERS)
    atexit.register(executor.shutdown)
    for future in [executor.submit(calls.ten_milliseconds, value) for value in range(4 * WORKERS)]:
        future.result()


def ours() -> float:
    """Return the duration of a whole run with `BURST` calls, in seconds."""
    _cluster()
    results: list[int] = []
    gc.collect()
    start = time.perf_counter()
    scheduler = Scheduler.with_ray(WORKERS)
    task = scheduler.task(calls.identity)

    @scheduler.on_start
    def submit_all() -> None:
        for value in range(BURST):
            task(value)

    task.on_result(lambda _, result: results.append(result))
    scheduler.run()
    seconds = time.perf_counter() - start
    _expect(results)
    return seconds


def raw() -> float:
    """Return the duration of the same calls with Ray alone, in seconds."""
    _cluster()
    import ray

    gc.collect()
    start = time.perf_counter()
    identity: Any = ray.remote(num_cpus=1, max_retries=0)(calls.identity)
    futures = [identity.remote(value).future() for value in range(BURST)]
    results = [future.result() for future in as_completed(futures)]
    seconds = time.perf_counter() - start
    _expect(results)
    return seconds


def _expect(results: list[int]) -> None:
    if sorted(results) != list(range(BURST)):
        msg = f"{BURST} calls gave {len(results)} results, or wrong ones."
        raise RuntimeError(msg)
