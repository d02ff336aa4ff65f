"""Runs of a scheduler with the backend: events, and the end at once."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, ClassVar

from amltk.scheduling import ExitState, Scheduler
from amltk_testing import calls
from amltk_testing.backend_base import BackendSuite
from amltk_testing.recorder import EventRecorder
from amltk_testing.suite import fail, within


class Runs(BackendSuite):
    """Runs that end by themselves."""

    group: ClassVar[str] = "runs"

    def test_events_come_in_order(self) -> None:
        """The events of a call: submitted, done, result or exception; of a run: start first, finished last."""
        scheduler = self.scheduler()
        recorder = EventRecorder(scheduler)
        scheduler.on_start(lambda: [scheduler.submit(calls.add, number) for number in range(5)] and None)
        scheduler.on_start(lambda: scheduler.submit(calls.raise_it, ValueError, "x"))
        state = self.run(scheduler)
        assert state.code is ExitState.Code.EXHAUSTED
        recorder.assert_order("on_start", "on_future_submitted", "on_empty", "on_finishing", "on_finished")
        recorder.assert_counts(
            on_future_submitted=6, on_future_done=6, on_future_result=5, on_future_exception=1, on_future_cancelled=0
        )
        recorder.assert_calls_ended_once()
        recorder.assert_last("on_finished")
        for (future,) in recorder.received("on_future_submitted"):
            assert recorder.of(future)[:2] == ["on_future_submitted", "on_future_done"]

    def test_callbacks_submit_more(self) -> None:
        """A chain of calls, each submitted when the one before it has returned."""
        scheduler = self.scheduler()
        task = scheduler.task(calls.add)
        results: list[int] = []
        task.on_result(lambda _, result: results.append(result))
        task.on_result(lambda _, result: task(result) if result < 10 else None)
        scheduler.on_start(lambda: task(0))
        self.run(scheduler)
        assert results == list(range(1, 11))

    def test_a_scheduler_runs_again(self) -> None:
        """With a new executor each time."""
        scheduler = self.scheduler()
        scheduler.on_start(lambda: scheduler.submit(calls.add, 1))
        for times in (1, 2, 3):
            assert self.run(scheduler).code is ExitState.Code.EXHAUSTED
            assert scheduler.event_counts["on_future_result"] == times

    def test_two_schedulers_run_side_by_side(self) -> None:
        """Each gets its own results, and the end of one is nothing to the other."""

        def results_of(first: int) -> list[int]:
            scheduler = self.scheduler()
            results: list[int] = []
            scheduler.on_start(lambda: [scheduler.submit(calls.add, first + n) for n in range(20)] and None)
            scheduler.on_future_result(lambda _, result: results.append(result))
            scheduler.run()
            return sorted(results)

        def both() -> list[list[int]]:
            with ThreadPoolExecutor(2) as threads:
                return list(threads.map(results_of, [0, 1000]))

        seen = within(2 * self.seconds, "two runs side by side", both)
        assert seen == [[first + n + 1 for n in range(20)] for first in (0, 1000)]


class Stopping(BackendSuite):
    """Runs that are ended while a call runs."""

    def stopped(self, folder: Path, function: Any, *args: Any, release: bool = True) -> tuple[EventRecorder, Scheduler]:
        """Run the call and two others; stop when it has begun; return what was recorded."""
        scheduler = self.scheduler()
        recorder = EventRecorder(scheduler)
        once: list[int] = []

        def begin() -> None:
            if not once:
                once.append(1)
                scheduler.submit(function, *args)
                for number in range(2):
                    scheduler.submit(calls.wait_for, folder / "gate", folder / f"other-{number}")
                look()

        def look() -> None:
            if any((folder / name).exists() for name in ("began", "ticks", "child")):
                scheduler.stop()
            else:
                scheduler.call_later(0.01, look)

        scheduler.on_start(begin)
        try:
            self.run(scheduler, wait=False, timeout=self.seconds)
        finally:
            if release:
                (folder / "gate").touch()
        if not scheduler.event_counts["on_stop"]:
            fail(f"the call did not begin within {self.seconds:g} s")
        return recorder, scheduler


class StopNow(Stopping):
    """`run(wait=False)` that is ended while a call runs."""

    group: ClassVar[str] = "stop now"

    def test_a_run_that_does_not_wait_ends_while_a_call_runs(self, folder: Path) -> None:
        """It comes back soon, each call was cancelled, and `on_finished` was its last event."""
        self.needs_background()
        recorder, _ = self.stopped(folder, calls.wait_for, folder / "gate", folder / "began")
        recorder.assert_counts(on_future_submitted=3, on_future_cancelled=3, on_future_done=0)
        recorder.assert_calls_ended_once()
        recorder.assert_last("on_finished")

    def test_a_run_works_after_one_that_was_stopped(self, folder: Path) -> None:
        """The next run of the same scheduler takes calls as ever."""
        self.needs_background()
        _, scheduler = self.stopped(folder, calls.wait_for, folder / "gate", folder / "began")
        scheduler.on_start(lambda: scheduler.submit(calls.add, 1))
        assert self.run(scheduler).code is ExitState.Code.EXHAUSTED
        assert scheduler.event_counts["on_future_result"] >= 1
