"""Everything at once, at random moments: each call ends once, and begins once at most, whoever dies when."""

from __future__ import annotations

import collections
import contextlib
import itertools
import os
import random
import signal
import threading
import time
from concurrent.futures import Future, wait
from pathlib import Path
from typing import Self

import psutil
import pytest
from processes_of_pools import workers

from amltk.backend import CallOptions
from amltk.exceptions import CallTimeoutError, WorkerDied, WorkerLost
from amltk_processes import ProcessPoolExecutor


def note(number: int, folder: Path, seconds: float = 0.0) -> int:
    file = os.open(folder / str(number), os.O_CREAT | os.O_APPEND | os.O_WRONLY)
    os.write(file, b".")
    os.close(file)
    time.sleep(seconds)
    return number


class Harm(threading.Thread):
    """Sends signals to workers at random moments, whatever they are doing, until the block is left."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.sent = 0
        self._chance = random.Random(seed)
        self._over = threading.Event()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self.join()

    def run(self) -> None:
        while not self._over.wait(self._chance.uniform(0.02, 0.2)):
            with contextlib.suppress(psutil.NoSuchProcess, IndexError):
                worker = self._chance.choice(workers())
                worker.send_signal(signal.SIGSTOP if self._chance.random() < 0.1 else signal.SIGKILL)
                self.sent += 1


class Calls:
    """Submits calls of three kinds, cancels some, and notes how often each one ends."""

    def __init__(self, executor: ProcessPoolExecutor, seed: int, folder: Path) -> None:
        self.futures: list[Future[int]] = []
        self.slow: set[Future[int]] = set()
        self.cancelled: dict[Future[int], bool] = {}
        self.ends: collections.Counter[Future[int]] = collections.Counter()
        self._executor = executor
        self._chance = random.Random(seed)
        self._folder = folder

    def submit(self) -> None:
        number, chance = len(self.futures), self._chance.random()
        if chance < 0.01:
            future = self._executor.submit_call(note, (number, self._folder, 30), {}, CallOptions(timeout=0.1))
            self.slow.add(future)
        elif chance < 0.3:
            future = self._executor.submit_call(note, (number, self._folder), {}, CallOptions(timeout=30))
        else:
            future = self._executor.submit(note, number, self._folder, 0.002)
        future.add_done_callback(lambda future: self.ends.update([future]))
        self.futures.append(future)

    def cancel_one(self) -> None:
        future = self._chance.choice(self.futures[-100:])
        self.cancelled[future] = future.cancel() or self.cancelled.get(future, False)

    def enough(self) -> bool:
        """Whether there are many, and one of them ended with its worker."""
        return len(self.futures) >= 600 and any(
            future.done() and not future.cancelled() and isinstance(future.exception(), WorkerDied)
            for future in self.futures
        )

    def check(self, number: int, began: bool) -> bool:
        """Check how a call ended; True if it did so with its worker."""
        future = self.futures[number]
        assert future.cancelled() == self.cancelled.get(future, False)
        if future.cancelled():
            return False
        error = future.exception()
        if error is None:
            assert future.result() == number
            assert began
            assert future not in self.slow
        elif isinstance(error, CallTimeoutError):
            assert future in self.slow
        else:
            assert isinstance(error, WorkerLost) or (isinstance(error, WorkerDied) and error.signal == signal.SIGKILL)
        return isinstance(error, WorkerDied)


@pytest.mark.parametrize("seed", range(2))
def test_calls_end_once_and_begin_once_at_most_whoever_dies_when(seed: int, tmp_path: Path) -> None:
    with ProcessPoolExecutor(3, heartbeat_timeout=0.5) as executor:
        calls = Calls(executor, seed, tmp_path)
        with Harm(seed) as harm:
            for number in itertools.takewhile(lambda _: not calls.enough(), itertools.count()):
                calls.submit()
                if number % 20 == 0:
                    calls.cancel_one()
                if number > 200:
                    wait(calls.futures[number - 200 : number - 199])
            assert not wait(calls.futures, timeout=50).not_done
    submitted = len(calls.futures)
    assert (len(calls.ends), set(calls.ends.values())) == (submitted, {1})
    began = {int(path.name): path.stat().st_size for path in tmp_path.iterdir()}
    assert set(began.values()) <= {0, 1}  # 0: killed before it could write
    died = sum(calls.check(number, number in began) for number in range(submitted))
    assert 0 < died <= harm.sent  # some have hit workers that did nothing just then
