"""How far it goes: runs of short calls on 1 to 1,000 workers of dask, all simulated in this one process.

    python benchmarks/scale.py                          # 1, 10, 100 and 1,000 workers, some minutes
    python benchmarks/scale.py --workers 1000 --calls 100000

Workers in threads of this process compute nothing worth mentioning, so nearly all the time is that of whoever hands out
calls and takes results: dask's scheduler, dask's client and workers, and amltk. A run of its own, profiled, tells them
apart: amltk's share is that of its code in the processor's time.
"""

from __future__ import annotations

import argparse
import asyncio
import cProfile
import json
import logging
import pstats
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, Self

import psutil

# Each worker would look after the same process, many times a second.
QUIET = {
    "distributed.admin.system-monitor.interval": "1h",
    "distributed.admin.tick.interval": "1h",
    "distributed.worker.memory.monitor-interval": "1h",
    "distributed.worker.profile.enabled": False,
}
# How many calls are measured by default: enough for a few seconds, and each worker has several.
DEFAULT_CALLS = {1: 500, 10: 1_000, 100: 2_000, 1_000: 10_000}


def identity(value: int) -> int:
    """Do nothing."""
    return value


class Profile:
    """Tells how much of the processor's time was amltk's.

    Every call of a function is measured, in all threads that hand out calls: that of the run, that of the cluster's
    loop, and those that begin meanwhile. The thread of the run is amltk's, as a whole. Elsewhere, what amltk calls of
    the standard library, or of C, counts for amltk, with all that this leads to.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        """Profile this thread and that of the `loop`, not yet."""
        self._run = cProfile.Profile(time.thread_time)
        self._others: list[cProfile.Profile] = []
        self._loop = loop

    def __enter__(self) -> Self:
        """Begin."""
        self._in_loop(self._begin)
        threading.setprofile(self._begin)
        self._run.enable()
        return self

    def __exit__(self, *_: object) -> None:
        """End."""
        self._run.disable()
        threading.setprofile(None)
        self._in_loop(self._others[0].disable)

    def _begin(self, *_: object) -> None:
        """Profile the thread that calls this."""
        profile = cProfile.Profile(time.thread_time)
        self._others.append(profile)
        profile.enable()

    def _in_loop(self, function: Callable[[], None]) -> None:
        async def call() -> None:
            function()

        asyncio.run_coroutine_threadsafe(call(), self._loop).result()

    def seconds(self) -> tuple[float, float]:
        """Return the seconds of amltk, and of all together."""
        ours = busy = 0.0
        for profile in (self._run, *self._others):
            for (file, _, _), (_, _, own, _, callers) in pstats.Stats(profile).stats.items():  # type: ignore[attr-defined]
                busy += own
                owner = _owner(file)
                if owner == "amltk" or profile is self._run:
                    ours += own
                elif owner == "others":
                    ours += sum(edge[3] for (caller, _, _), edge in callers.items() if _owner(caller) == "amltk")
        return ours, busy


def _owner(file: str) -> str:
    folders = Path(file).parts
    if {"amltk", "amltk_dask"} & set(folders):
        return "amltk"
    return "dask" if {"distributed", "dask", "tornado"} & set(folders) else "others"


@contextmanager
def cluster(workers: int) -> Iterator[Any]:
    """Start workers in this process, without what costs time and serves only people: profiles and dashboards."""
    import dask
    from distributed import Client, LocalCluster

    dask.config.set(QUIET)
    with (
        LocalCluster(
            n_workers=workers,
            threads_per_worker=1,
            processes=False,
            dashboard_address=None,
            silence_logs=logging.CRITICAL,
        ) as local,
        Client(local) as client,
    ):
        client.wait_for_workers(workers, timeout=600)
        yield client


def ours(client: Any, calls: int) -> None:
    """Run them through a scheduler, every event emitted."""
    from amltk import Scheduler

    results: list[int] = []
    scheduler = Scheduler.with_dask(client=client)
    task = scheduler.task(identity)

    @scheduler.on_start
    def begin() -> None:
        for value in range(calls):
            task(value)

    @task.on_result
    def keep(_: Any, result: int) -> None:
        results.append(result)

    scheduler.run()
    _check(results, calls)


def raw(client: Any, calls: int) -> None:
    """Give them to dask directly, all at once, each with a key of its own."""
    from distributed import as_completed

    futures = client.map(identity, range(calls), pure=False)
    _check([result for _, result in as_completed(futures, with_results=True)], calls)


def _check(results: list[int], calls: int) -> None:
    if sorted(results) != list(range(calls)):
        msg = f"{calls} calls gave {len(results)} results, or wrong ones."
        raise RuntimeError(msg)


def measure(which: str, workers: int, calls: int) -> dict[str, float]:
    """Measure one size, in this process: "ours", "raw", or "profile", which is ours and takes longer."""
    process = psutil.Process()
    run = raw if which == "raw" else ours
    started = time.perf_counter()
    with cluster(workers) as client:
        up = time.perf_counter() - started
        run(client, 2 * workers)  # everybody has worked once
        memory = process.memory_info().rss
        profile = Profile(client.loop.asyncio_loop) if which == "profile" else nullcontext()
        with profile:
            began, cpu = time.perf_counter(), time.process_time()
            run(client, calls)
            seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
        figures = {
            "workers": workers,
            "calls": calls,
            "seconds to start": up,
            "seconds": seconds,
            "CPU seconds": cpu,
            "MB before": memory / 1e6,
            "MB more": (process.memory_info().rss - memory) / 1e6,
        }
        if isinstance(profile, Profile):
            figures["seconds of amltk"], figures["seconds busy"] = profile.seconds()
        return figures


def main() -> None:
    """Measure each size in a fresh process, ours and raw, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, action="append", help="how many; may be given several times")
    parser.add_argument("--calls", type=int, help="how many for each size")
    parser.add_argument("--json", type=Path, help="write all figures to this file")
    parser.add_argument("--one", choices=["ours", "raw", "profile"], help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measure(options.one, options.workers[0], options.calls)))
        return
    figures = []
    heads = ("calls", "calls/s", "dask alone", "amltk code", "MB before", "MB more")
    print(" workers" + "".join(f" {head:>10}" for head in heads))
    for workers in options.workers or DEFAULT_CALLS:
        calls = options.calls or DEFAULT_CALLS.get(workers, 10 * workers)
        one = {which: _in_a_process(which, workers, calls) for which in ("ours", "raw", "profile")}
        figures.append(one)
        mine, theirs = one["ours"], one["raw"]
        share = one["profile"]["seconds of amltk"] / one["profile"]["seconds busy"]
        print(
            f"{workers:8,} {calls:10,} {calls / mine['seconds']:10,.0f} {calls / theirs['seconds']:10,.0f} "
            f"{share:10.1%} {mine['MB before']:10,.0f} {mine['MB more']:10,.0f}",
            flush=True,
        )
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2))


def _in_a_process(which: str, workers: int, calls: int) -> dict[str, float]:
    command = [sys.executable, __file__, "--one", which, "--workers", str(workers), "--calls", str(calls)]
    output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    figures: dict[str, float] = json.loads(output.splitlines()[-1])
    return figures


if __name__ == "__main__":
    main()
