"""Measure short calls on 1 to 1,000 simulated workers of dask; docs/scale.md reports the results.

    python benchmarks/dask_workers.py                       # 1, 10, 100 and 1,000 workers: minutes
    python benchmarks/dask_workers.py 10 --calls 5000

The workers are dask's own and run in the process of its scheduler, so they all share one processor. The figures are
processor time, which hardly depends on other load of the machine. Each size has a process of its own.
"""

from __future__ import annotations

import argparse
import cProfile
import json
import logging
import pstats
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import Executor
from pathlib import Path
from typing import Any

HEADER = f"{'workers':>8} {'calls':>8} {'dask alone':>14} {'with amltk':>14} {'share':>7} {'calls/s':>8} {'memory':>9}"


def nothing(_: int) -> None:
    """Do nothing, as the shortest possible call."""


def resident() -> int:
    """Return the memory of this process in MB."""
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * 4 // 1024


def cost(work: Callable[[], object], calls: int) -> tuple[float, float]:
    """Return processor time and wall time per call, in seconds."""
    processor, clock = time.process_time(), time.perf_counter()
    work()
    return (time.process_time() - processor) / calls, (time.perf_counter() - clock) / calls


def through(executor: Executor, calls: int) -> None:
    """Run all calls with an executor."""
    for future in [executor.submit(nothing, n) for n in range(calls)]:
        future.result()


def measure(workers: int, calls: int) -> dict[str, Any]:
    """Return the cost of calls with this many workers: with dask alone, and with a scheduler of amltk."""
    from distributed import Client, LocalCluster

    from amltk import Scheduler

    quiet = {"dashboard_address": "127.0.0.1:0", "scheduler_kwargs": {"dashboard": False}, "memory_limit": 0}
    with (
        LocalCluster(workers, threads_per_worker=1, processes=False, silence_logs=logging.CRITICAL, **quiet) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        alone = client.get_executor(pure=False)
        through(alone, calls // 10)
        dask_alone, _ = cost(lambda: through(alone, calls), calls)

        scheduler = Scheduler.with_dask(client=client)
        task = scheduler.task(nothing)
        many = calls // 10

        def begin() -> None:
            for n in range(many):
                task(n)

        scheduler.on_start(begin)
        scheduler.run()
        before = resident()
        empty, _ = cost(lambda: _run_empty(client), 1)
        many = calls
        with_amltk, seconds = cost(scheduler.run, calls)
        memory = resident() - before
        share = _share(scheduler)
    return {
        "workers": workers, "calls": calls, "dask_us": dask_alone * 1e6, "amltk_us": (with_amltk - empty / calls) * 1e6,
        "share": share, "per_second": 1 / seconds, "memory": memory,
    }  # fmt: skip


def _run_empty(client: Any) -> None:
    """Run a single call, to measure the handshakes with all workers."""
    from amltk import Scheduler

    scheduler = Scheduler.with_dask(client=client)
    scheduler.on_start(lambda: scheduler.submit(nothing, 0))
    scheduler.run()


def _share(scheduler: Any) -> float:
    """Return the share of amltk's own functions in the time of the loops, as a profiler measures it."""
    from amltk_dask import executor

    profiles: list[cProfile.Profile] = []

    def watch(function: Callable[..., Any]) -> Callable[..., Any]:
        def watched(*args: Any, **kwargs: Any) -> Any:
            profile = cProfile.Profile()
            profiles.append(profile)
            profile.enable()
            return function(*args, **kwargs)

        return watched

    begin = executor.DaskExecutor._begin
    executor.DaskExecutor._begin = watch(begin)  # type: ignore[method-assign]
    try:
        threading.Thread(target=watch(scheduler.run)).run()
    finally:
        executor.DaskExecutor._begin = begin  # type: ignore[method-assign]
    ours = total = 0.0
    for profile in profiles:
        profile.disable()
        for (file, _, name), (_, _, own, _, callers) in pstats.Stats(profile).stats.items():  # type: ignore[attr-defined]
            if any(word in name for word in ("poll", "acquire", "select")):  # the thread waits
                continue
            total += own
            if file == "~":  # in C: attributed to its callers
                ours += sum(row[2] for (caller, *_), row in callers.items() if _is_ours(caller))
            elif _is_ours(file):
                ours += own
    return ours / total


def _is_ours(file: str) -> bool:
    return "/amltk" in file or "/cloudpickle/" in file  # amltk causes the pickling


def line(found: dict[str, Any]) -> str:
    """Return a row of the table."""
    costs = (f"{found[name]:>11.0f} us" for name in ("dask_us", "amltk_us"))
    shown = f"{found['workers']:>8,} {found['calls']:>8,} {' '.join(costs)} {found['share']:>7.1%}"
    return f"{shown} {found['per_second']:>8.0f} {found['memory']:>6} MB"


def main() -> None:
    """Measure each size in a process of its own, and print a table."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("workers", nargs="*", type=int, default=[1, 10, 100, 1000])
    parser.add_argument("--calls", type=int, default=5000)
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.here:
        print(json.dumps(measure(arguments.workers[0], arguments.calls)))
        return
    print(HEADER, flush=True)
    for workers in arguments.workers:
        command = [sys.executable, __file__, str(workers), "--calls", str(arguments.calls), "--here"]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        print(line(json.loads(done.stdout.splitlines()[-1])), flush=True)


if __name__ == "__main__":
    main()
