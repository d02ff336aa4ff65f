"""Tests of `reports_execution`: `future.execution` has the place and the times of a call."""

from __future__ import annotations

import time
from concurrent.futures import Future
from pathlib import Path
from typing import Any, ClassVar

from amltk.backend import Execution, ReportsExecution
from amltk_testing import calls
from amltk_testing.backend_base import BackendSuite
from amltk_testing.suite import comes_true, fail

SLACK_SECONDS = 0.05
"""By so much the clocks of one machine may differ: one is adjusted while another is not."""


class Executions(BackendSuite):
    """When and where calls ran."""

    group: ClassVar[str] = "execution"

    def test_the_execution_of_a_call_says_where_it_ran(self) -> None:
        """`reports_execution`: host and process are those that the call itself sees; complete before it is resolved."""
        self.needs("reports_execution")
        seen: list[Execution | None] = []
        with self.executor() as executor:
            future = executor.submit(calls.where)
            # Judged below: what it raises might end a thread of the executor.
            future.add_done_callback(lambda future: seen.append(getattr(future, "execution", None)))
            place = self.result(future)
            _execution(future)
            if not comes_true(lambda: bool(seen), self.seconds):
                fail("the callback of a future that is done was not called")
        execution = self._complete(seen[0], "when its callbacks are called")
        if (execution.host, execution.pid) != place:
            fail(f"the call ran in process {place[1]} on {place[0]!r}, but its execution is {execution}")

    def test_the_execution_of_a_call_says_when_it_ran(self) -> None:
        """`reports_execution`: the time that the call ran, not the time that it waited."""
        self.needs("reports_execution")
        with self.executor() as executor:
            self.result(executor.submit(calls.add, 1))  # a worker is there
            submitted, before = time.time(), time.monotonic()
            future = executor.submit(calls.wait, 0.2)
            self.result(future)
            elapsed = time.monotonic() - before
        execution = self._complete(_execution(future), "when it has returned")
        assert execution.duration is not None
        if not 0.2 - SLACK_SECONDS <= execution.duration <= elapsed + SLACK_SECONDS:
            fail(f"a call that took 0.2 s, and was done after {elapsed:.3f} s, has the execution {execution}")
        if self.on_this_machine():
            assert execution.started is not None
            if not submitted - SLACK_SECONDS <= execution.started <= submitted + elapsed + SLACK_SECONDS:
                fail(f"a call that was submitted at {submitted} has the execution {execution}")

    def test_the_execution_of_a_call_that_waits_is_unknown(self, folder: Path) -> None:
        """`reports_execution`: None as long as no worker has begun the call."""
        self.needs("reports_execution")
        self.needs_background()
        gate = folder / "gate"
        with self.executor() as executor:
            began = [folder / f"began-{number}" for number in range(20)]
            futures = [executor.submit(calls.wait_for, gate, file) for file in began]
            comes_true(lambda: any(file.exists() for file in began), self.seconds)
            early = [
                execution
                for future, file in zip(futures, began, strict=True)
                if (execution := _execution(future)) is not None and not future.running() and not file.exists()
            ]
            gate.touch()
            self.wait(*futures)
        if early:
            fail(f"the future of a call that no worker had begun had the execution {early[0]}, and not None")

    def test_the_execution_of_a_call_that_raised_is_reported(self) -> None:
        """`reports_execution`: as that of a call that returned."""
        self.needs("reports_execution")
        with self.executor() as executor:
            future = executor.submit(calls.raise_it, ValueError, "wrong")
            self.error(future, ValueError)
        self._complete(_execution(future), "when it has raised")

    def test_the_execution_of_a_call_whose_worker_died_is_reported(self, folder: Path) -> None:
        """`reports_execution`: as much as is known; that it ran is."""
        self.needs("reports_execution")
        self.needs("survives_dead_worker")
        with self.executor() as executor:
            future = executor.submit(calls.die, folder)
            self.error(future)
        execution = _execution(future)
        if execution is None:
            fail("the worker of a call died, and the call's execution is None, though it had begun")
        if execution.started is not None and execution.duration is None:
            fail(f"the worker of a call died, and the call's execution has no end: {execution}")

    def test_callbacks_of_a_run_see_the_execution(self) -> None:
        """`reports_execution`: `on_result` and `on_exception` find it complete."""
        self.needs("reports_execution")
        scheduler, seen = self.scheduler(), []
        returns, raises = scheduler.task(calls.add), scheduler.task(calls.raise_it)

        def note(future: Any, _: object) -> None:
            seen.append(future.execution)

        returns.on_result(note)
        raises.on_exception(note)
        scheduler.on_start(lambda: (returns(1), raises(ValueError)))
        self.run(scheduler)
        assert len(seen) == 2
        for execution in seen:
            self._complete(execution, "when the task's callbacks are called")

    def _complete(self, execution: Execution | None, when: str) -> Execution:
        if execution is None or execution.started is None or execution.duration is None:
            fail(f"reports_execution is claimed, but {when}, a call's execution is {execution}")
        return execution


def _execution(future: Future[Any]) -> Execution | None:
    if not isinstance(future, ReportsExecution):
        fail(f"reports_execution is claimed, but futures, of type {type(future).__name__}, have no execution")
    return future.execution
