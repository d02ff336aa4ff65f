"""The rows of the table. Each is a quotient of two measurements, or one measurement, with an upper limit.

Unless its function states otherwise, each measurement has an executor of its own, starts from a collected heap, leaves
the garbage collector on, and uses every result. It lasts from before the executor is made until it is closed.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import installed
import instant_calls
import processes
import programs
import ray_calls

from amltk import Scheduler

Measurement = Callable[[], float]


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


def process_scheduler() -> AbstractContextManager[Scheduler]:
    """Return a scheduler on processes; the end of its run closes them."""
    return nullcontext(Scheduler.with_processes(max_workers=2))


ROWS = (
    Row(
        "burst",
        f"{instant_calls.BURST:,} calls at once, instant / raw",
        instant_calls.instant_burst_ours,
        instant_calls.instant_burst_raw,
        "s",
        1.4,
    ),
    Row(
        "queue",
        f"a call of {instant_calls.MANY:,} queued / of {instant_calls.FEW:,}",
        lambda: instant_calls.queued_ours(instant_calls.MANY, reverse=False),
        lambda: instant_calls.short_queues(lambda calls: instant_calls.queued_ours(calls, reverse=False)),
        "s",
        1.15,
    ),
    Row(
        "queue-reverse",
        "the same, they end in reverse order",
        lambda: instant_calls.queued_ours(instant_calls.MANY, reverse=True),
        lambda: instant_calls.short_queues(lambda calls: instant_calls.queued_ours(calls, reverse=True)),
        "s",
        1.15,
    ),
    Row(
        "queue-raw",
        "the same, raw / raw",
        lambda: instant_calls.queued_raw(instant_calls.MANY),
        lambda: instant_calls.short_queues(instant_calls.queued_raw),
        "s",
        None,
    ),
    Row(
        "chain",
        f"chain of {instant_calls.CHAIN:,} calls, instant / raw",
        instant_calls.chain_ours,
        instant_calls.chain_raw,
        "s",
        1.25,
    ),
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
        lambda: instant_calls.burst_ours(
            lambda: nullcontext(Scheduler.with_processes(max_workers=2)), instant_calls.BURST
        ),
        lambda: instant_calls.burst_raw(processes.raw, instant_calls.BURST),
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
        f"memory a call, {instant_calls.MANY:,} queued (beside it: raw)",
        instant_calls.memory_ours,
        instant_calls.memory_raw,
        "kB",
        2.5,
        divide=False,
    ),
    Row(
        "import",
        "process: import amltk / asyncio, concurrent.futures",
        lambda: programs.whole_process("import amltk"),
        lambda: programs.whole_process("import asyncio, concurrent.futures"),
        "s",
        1.25,
    ),
    Row(
        "program",
        "process: with_processes(2), one call / forkserver's",
        lambda: programs.whole_process(programs.OURS_ONCE),
        lambda: programs.whole_process(programs.FORKSERVER_ONCE),
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
        f"run(timeout={programs.TIMEOUT_SECONDS:g}, wait=False): beyond {programs.TIMEOUT_SECONDS:g} s",
        programs.overrun,
        None,
        "s",
        0.5,
        divide=False,
    ),
)
