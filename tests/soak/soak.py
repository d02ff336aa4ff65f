"""Have calls flow through the scheduler, on processes, while workers are killed at random moments.

    python tests/soak/soak.py --seconds 600 --seed 1

Some calls end their worker themselves; and a thread sends signals to workers, whatever they are doing. This must hold
all the while, or it fails and says what did not:

- each call ended once, none was lost, none ran twice, and every result is the right one
- a call failed only if it raised, took too long, or its worker was killed; and no death failed two calls
- a call was cancelled only if that was asked for, whether it ran or not
- memory, descriptors, threads and processes are as many in the last third as they were in the second
- nothing is left at the end
"""

from __future__ import annotations

import argparse
import array
import asyncio
import contextlib
import faulthandler
import os
import random
import signal
import statistics
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import psutil
from soak_calls import KINDS, WEIGHTS, work

from amltk import Scheduler
from amltk.exceptions import CallTimeoutError, WorkerDied, WorkerLost

WORKERS = 4
UNDER_WAY = 100
"""So many calls are submitted and not ended at any time."""
LEAST_CALLS = 10_000
KILL_EVERY = 0.15
"""Seconds between two signals, on average."""
HEARTBEAT_TIMEOUT = 3.0
CALL_TIMEOUT = 0.1
CANCEL_WITHIN = 0.2
SAMPLE_EVERY = 0.5
STALLED = 60.0
"""Seconds without any call that ends, after which all is said to stand still."""

MOST_GROWTH = 12 << 20
"""Bytes that the memory of a process may grow by: the allocator's scatter."""

SIGNALS = (signal.SIGKILL, signal.SIGSEGV, signal.SIGTERM, signal.SIGSTOP)

STATES = ("waiting", "returned", "raised", "died", "cancelled", "timed out")
WAITS, DONE, RAISED, DIED, CANCELLED, TIMED_OUT = range(6)
ENDS_OF = {
    "raise": {RAISED, DIED},
    "SIGKILL": {DIED},
    "SIGSEGV": {DIED},
    "exit": {DIED},
    "cancelled": {CANCELLED, DIED},
    "too long": {TIMED_OUT, DIED},
}
"""How calls of a kind may end; of all others: returned, died."""


class Sample(NamedTuple):
    """How much there was of each at one moment."""

    memory: int
    memory_of_server: int
    descriptors: int
    descriptors_of_server: int
    threads: int
    workers: int


class Soak:
    """One soak: submits calls, notes how they end, and judges."""

    def __init__(self, seconds: float, seed: int, begun: Path) -> None:
        self.seconds = seconds
        self.random = random.Random(seed)
        self.begun = begun
        self.scheduler = Scheduler.with_processes(max_workers=WORKERS, heartbeat_timeout=HEARTBEAT_TIMEOUT)
        self.task = self.scheduler.task(work)
        self.limited = self.scheduler.task(work)
        self.limited.timeout = CALL_TIMEOUT
        self.states = bytearray()
        self.kinds = bytearray()
        self.deaths: Counter[int] = Counter()
        self.signalled: Counter[int] = Counter()
        self.sent: Counter[str] = Counter()
        self.samples: list[Sample] = []
        self.wrong: list[str] = []
        self.ended = self.lost = 0
        self.over = threading.Event()
        self.began = time.monotonic()
        self.scheduler.on_start(self._fill)
        self.scheduler.on_future_result(self._on_result)
        self.scheduler.on_future_exception(self._on_exception)
        self.scheduler.on_future_cancelled(lambda future: self._end(future, CANCELLED))

    # Calls

    def _fill(self) -> None:
        self.began = time.monotonic()
        for _ in range(UNDER_WAY):
            self._submit()

    def _submit(self) -> None:
        number = len(self.states)
        kind = self.random.choices(KINDS, WEIGHTS)[0]
        self.states.append(WAITS)
        self.kinds.append(KINDS.index(kind))
        payload = bytes(300_000) if kind == "large" else b""
        task = self.limited if kind == "too long" else self.task
        future = task(number, kind, self.random.uniform(0.0005, 0.01), str(self.begun), payload)
        if kind == "cancelled":
            assert future is not None
            # Which says no of one whose worker has just died; if it does of any other, that returns, which is wrong.
            self.scheduler.call_later(self.random.uniform(0, CANCEL_WITHIN), future.cancel)

    def _end(self, future: asyncio.Future[Any], state: int) -> int:
        number: int = future.args[0]  # type: ignore[attr-defined] # a CallFuture has them
        if self.states[number] != WAITS:
            self.wrong.append(f"call {number} ended twice: {STATES[self.states[number]]}, then {STATES[state]}")
        kind = KINDS[self.kinds[number]]
        if state not in ENDS_OF.get(kind, {DONE, DIED}):
            self.wrong.append(f"call {number}, {kind}, ended as {STATES[state]}")
        self.states[number] = state
        self.ended += 1
        if time.monotonic() - self.began < self.seconds or len(self.states) < LEAST_CALLS:
            self._submit()
        return number

    def _on_result(self, future: asyncio.Future[Any], result: tuple[int, int]) -> None:
        number = self._end(future, DONE)
        if result != (number, 300_000 if KINDS[self.kinds[number]] == "large" else 0):
            self.wrong.append(f"call {number} returned {result}")

    def _on_exception(self, future: asyncio.Future[Any], error: BaseException) -> None:
        if isinstance(error, WorkerDied):
            number = self._end(future, DIED)
            self.deaths[error.pid or 0] += 1
            self.lost += isinstance(error, WorkerLost)
            self.signalled[error.pid or 0] += KINDS[self.kinds[number]] in {"SIGKILL", "SIGSEGV", "exit"}
        elif isinstance(error, CallTimeoutError):
            self._end(future, TIMED_OUT)
        elif error.args != (self._end(future, RAISED),):
            self.wrong.append(f"{future!r} raised {error!r}")

    def run(self) -> None:
        """Have calls flow, and workers die, until the time is over."""
        threads = [threading.Thread(target=each, daemon=True) for each in (self.kill, self.watch)]
        for thread in threads:
            thread.start()
        try:
            self.scheduler.run(on_exception=dict.fromkeys((WorkerDied, CallTimeoutError, ValueError), "ignore"))
        finally:
            self.over.set()
            for thread in threads:
                thread.join()

    # Threads beside the run

    def kill(self) -> None:
        """Send signals to workers until it is over."""
        chance = random.Random(self.random.random())
        while not self.over.wait(chance.expovariate(1 / KILL_EVERY)):
            workers = _workers()
            if workers:
                victim = chance.choice(workers)
                number = chance.choice(SIGNALS)
                self.signalled[victim.pid] += 1
                self.sent[number.name] += 1
                _send(victim, number)
                if number == signal.SIGSTOP and chance.random() < 0.5:  # the others are for the pool to find
                    self.over.wait(chance.uniform(0, 0.5))
                    _send(victim, signal.SIGKILL)

    def watch(self) -> None:
        """Take samples until it is over, tell how it goes, and break off what stands still."""
        ended, since, told = 0, time.monotonic(), 0.0
        while not self.over.wait(SAMPLE_EVERY):
            now = time.monotonic()
            sample = _sample()
            if sample is not None:
                self.samples.append(sample)
                if now > told + 10:
                    told = now
                    died = sum(self.deaths.values())
                    print(
                        f"{now - self.began:5.0f} s {self.ended:>8} calls {died:>5} died  {_told(sample)}", flush=True
                    )
            if self.ended != ended:
                ended, since = self.ended, now
            elif now - since > STALLED:
                waiting = [future.describe() for future in self.scheduler.queue]
                print(f"Nothing has ended for {STALLED:g} s; waiting: {waiting}", flush=True)
                faulthandler.dump_traceback(sys.stdout)
                os._exit(1)

    # Judgement

    def judge(self) -> None:
        """Note what was wrong, once the run is over."""
        lost = self.states.count(WAITS)
        if lost:
            self.wrong.append(f"{lost} calls never ended")
        self._judge_begun()
        for pid, number in self.deaths.items():
            if number > self.signalled[pid]:
                self.wrong.append(
                    f"process {pid} took {number} calls with it, and was killed {self.signalled[pid]} times"
                )
        third = len(self.samples) // 3
        second, last = zip(*self.samples[third : 2 * third], strict=True), zip(*self.samples[-third:], strict=True)
        for name, before, after in zip(Sample._fields, second, last, strict=True):
            grown = statistics.median(after) - statistics.median(before)
            if grown > (MOST_GROWTH if name.startswith("memory") else 2):
                self.wrong.append(f"{name} grew by {grown:,.0f}, from {statistics.median(before):,.0f}")

    def _judge_begun(self) -> None:
        notes = array.array("I", self.begun.read_bytes())
        times = bytearray(len(self.states))
        for number in notes:
            times[number] = min(times[number] + 1, 2)
        for number, (begun, state) in enumerate(zip(times, self.states, strict=True)):
            if begun > 1:
                self.wrong.append(f"call {number} ran twice")
            elif not begun and state in {DONE, RAISED}:
                self.wrong.append(f"call {number} ended and never began")

    def tell(self) -> None:
        """Print what there was."""
        seconds = time.monotonic() - self.began
        counts = {name: self.states.count(state) for state, name in enumerate(STATES)}
        print(f"{len(self.states)} calls in {seconds:.0f} s: {counts}, {self.lost} of the died were lost")
        print(f"signals: {dict(self.sent)}")
        if self.samples:
            print(f"at first  {_told(self.samples[0])}\nat last   {_told(self.samples[-1])}")


def _server() -> psutil.Process | None:
    children = psutil.Process().children()
    return children[0] if children else None


def _workers() -> list[psutil.Process]:
    try:
        server = _server()
        return server.children() if server is not None else []
    except psutil.Error:
        return []


def _send(process: psutil.Process, number: int) -> None:
    try:
        process.send_signal(number)
    except psutil.Error:
        return  # it was quicker


def _sample() -> Sample | None:
    ourselves, server = psutil.Process(), _server()
    if server is None:
        return None
    try:
        return Sample(
            ourselves.memory_info().rss, server.memory_info().rss, ourselves.num_fds(), server.num_fds(),
            ourselves.num_threads(), len(server.children()),
        )  # fmt: skip
    except psutil.Error:
        return None


def _told(sample: Sample) -> str:
    memory, memory_of_server, *others = sample
    numbers = ", ".join(f"{name} {number}" for name, number in zip(Sample._fields[2:], others, strict=True))
    return f"memory {memory >> 20} + {memory_of_server >> 20} MB, {numbers}"


@contextlib.contextmanager
def _stderr_into(path: Path) -> Iterator[None]:
    """Keep off the screen what dying workers write."""
    ours = os.dup(2)
    with path.open("wb") as file:
        os.dup2(file.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(ours, 2)
        os.close(ours)


def _left() -> str:
    ourselves = psutil.Process()
    children = ourselves.children(recursive=True)
    return f"{ourselves.num_fds()} descriptors, {threading.active_count()} threads, processes {children}"


def main() -> int:
    """Soak, tell, and return 1 if anything was wrong."""
    parser = argparse.ArgumentParser(description="Kill workers under load, and see that nothing is lost.")
    parser.add_argument("--seconds", type=float, default=600, help="how long calls flow (600); 10,000 calls at least")
    parser.add_argument("--seed", type=int, default=time.time_ns() % 100_000, help="of all that is random")
    options = parser.parse_args()
    print(f"seed {options.seed}")
    with tempfile.TemporaryDirectory() as folder:
        begun = Path(folder) / "begun"
        begun.touch()
        soak = Soak(options.seconds, options.seed, begun)
        before = _left()
        with _stderr_into(Path(folder) / "stderr"):
            soak.run()
        after = _left()
        if after != before:
            soak.wrong.append(f"before there were {before}, and afterwards {after}")
        soak.judge()
    soak.tell()
    for what in soak.wrong[:50]:
        print(f"WRONG: {what}")
    print("FAILED" if soak.wrong else "ok")
    return bool(soak.wrong)


if __name__ == "__main__":
    raise SystemExit(main())
