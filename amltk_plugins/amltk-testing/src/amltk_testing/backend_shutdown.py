"""Tests of `future.cancel()` and `executor.shutdown()`."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Executor, Future
from pathlib import Path
from typing import ClassVar

from amltk_testing import calls
from amltk_testing.backend_base import BackendSuite
from amltk_testing.suite import comes_true, fail, until, within


class Cancelling(BackendSuite):
    """`future.cancel()`."""

    group: ClassVar[str] = "cancel"

    def test_cancel_says_what_is_true(self, folder: Path) -> None:
        """True: the call will not run, or runs no longer. False: it runs, and its result arrives."""
        self.needs_background()
        gate = folder / "gate"
        homes = [folder / str(number) for number in range(20)]
        for home in homes:
            home.mkdir()

        def ticks() -> list[int]:
            files = [home / "ticks" for home in homes]
            return [file.stat().st_size + 1 if file.exists() else 0 for file in files]

        executor = self.make()
        try:
            futures = [executor.submit(calls.tick, home, gate) for home in homes]
            until(lambda: any(ticks()), self.seconds, "no call began")
            said = [future.cancel() for future in reversed(futures)][::-1]
            still = self._when_they_rest(ticks, said)
        finally:
            gate.touch()
        self.wait(*futures)
        within(self.seconds, "shutdown()", executor.shutdown)
        ticked = ticks()
        for number, (future, cancelled) in enumerate(zip(futures, said, strict=True)):
            if cancelled and ticked[number] != still[number]:
                fail(f"cancel() of call {number} said True, and the call ran on")
            if cancelled != future.cancelled() or (not cancelled and not ticked[number]):
                fail(f"cancel() of call {number} said {cancelled}, and then the future was {future!r}")

    def _when_they_rest(self, ticks: Callable[[], list[int]], cancelled: list[bool]) -> list[int]:
        """Return the ticks of all calls, once the cancelled ones have stopped, or should have."""
        end = time.monotonic() + self.seconds
        while True:
            before = ticks()
            time.sleep(0.2)  # forty ticks
            pairs = zip(before, after := ticks(), cancelled, strict=True)
            if all(b == a for b, a, over in pairs if over) or time.monotonic() > end:
                return after

    def test_an_ended_call_can_not_be_cancelled(self) -> None:
        """Its result is there, and stays."""
        with self.executor() as executor:
            future = executor.submit(calls.add, 1)
            self.wait(future)
            assert not future.cancel()
            assert future.result() == 2


class Shutdown(BackendSuite):
    """`shutdown()` in all its forms."""

    group: ClassVar[str] = "shutdown"

    def test_shutdown_waits_for_what_was_submitted(self) -> None:
        """`shutdown()` comes back when all calls have ended."""
        executor = self.make()
        futures = [executor.submit(calls.wait, 0.1) for _ in range(3)]
        within(self.seconds, "shutdown()", executor.shutdown)
        self._all_have_ended(futures)
        assert [future.exception() for future in futures] == [None] * 3

    def test_shutdown_without_waiting_comes_back_at_once(self, folder: Path) -> None:
        """`shutdown(wait=False)` comes back while a call runs, whose result arrives later."""
        self.needs_background()
        executor = self.make()
        future = self._running(executor, folder)
        try:
            within(self.seconds, "shutdown(wait=False)", lambda: executor.shutdown(wait=False))
            assert not future.done()
        finally:
            (folder / "gate").touch()
        self.wait(future)
        within(self.seconds, "a second shutdown()", executor.shutdown)
        assert future.exception() is None

    def test_shutdown_cancels_what_waits(self, folder: Path) -> None:
        """`shutdown(cancel_futures=True)`: running calls end as usual, waiting ones are cancelled, none is lost."""
        self.needs_background()
        executor = self.make()
        gate = folder / "gate"
        first = self._running(executor, folder)
        others = [executor.submit(calls.wait_for, gate, folder / f"began-{number}") for number in range(100)]
        try:
            within(
                self.seconds,
                "shutdown(wait=False, cancel_futures=True)",
                lambda: executor.shutdown(wait=False, cancel_futures=True),
            )
        finally:
            gate.touch()
        if not comes_true(lambda: all(future.done() for future in [first, *others]), self.seconds):
            fail("shutdown(cancel_futures=True) left futures that are never resolved")
        assert first.exception() is None
        ran = [number for number, future in enumerate(others) if future.cancelled() == self._began(folder, number)]
        if ran:
            fail(f"{len(ran)} calls ran and were cancelled, or neither")
        if not others[-1].cancelled():
            fail("shutdown(cancel_futures=True) let the last of 101 calls run; it waited, so it should be cancelled")
        within(self.seconds, "a second shutdown()", executor.shutdown)

    def test_after_shutdown_no_call_is_taken(self) -> None:
        """`submit` raises `RuntimeError`, and does nothing else."""
        executor = self.make()
        within(self.seconds, "shutdown()", executor.shutdown)
        try:
            executor.submit(calls.add, 1)
        except RuntimeError:
            return
        fail("after shutdown(), submit took a call; it should raise RuntimeError")

    def test_shutdown_twice_is_once(self) -> None:
        """A second `shutdown()` does no harm, whatever the first one was."""
        executor = self.make()
        self.wait(executor.submit(calls.add, 1))
        for wait in (False, True, True):
            within(self.seconds, f"shutdown(wait={wait})", lambda wait=wait: executor.shutdown(wait=wait))  # type: ignore[misc]

    def test_the_with_block_shuts_down(self) -> None:
        """As any executor, it is closed by the end of its `with` block."""

        def use() -> tuple[Executor, Future[None]]:
            with self.make() as executor:
                return executor, executor.submit(calls.wait, 0.1)

        _, future = within(2 * self.seconds, "the with block", use)
        self._all_have_ended([future])

    def test_an_executor_that_nobody_used_shuts_down(self) -> None:
        """Without a single call."""
        executor = self.make()
        within(self.seconds, "shutdown()", executor.shutdown)

    def _running(self, executor: Executor, folder: Path) -> Future[str]:
        future = executor.submit(calls.wait_for, folder / "gate", folder / "began")
        until((folder / "began").exists, self.seconds, "the call did not begin")
        return future

    def _began(self, folder: Path, number: int) -> bool:
        return (folder / f"began-{number}").exists()

    def _all_have_ended(self, futures: list[Future[None]]) -> None:
        left = sum(not future.done() for future in futures)
        if left:
            fail(f"shutdown() came back while {left} of {len(futures)} calls had not ended")
