"""Submits, completes, fails, cancels and stops in any order, chosen by Hypothesis; checks invariants after each run.

The scheduler runs in a thread of its own, and executes each step there, as it does a callback. A call waits for a file
whose text decides how it ends. If calls run in the thread of the run itself, they end at once.
"""

from __future__ import annotations

import itertools
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any, ClassVar

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule, run_state_machine_as_test

from amltk.scheduling import ExitState, Scheduler
from amltk_testing import calls
from amltk_testing.backend_base import BackendSuite
from amltk_testing.leaks import threads_and_processes
from amltk_testing.recorder import EventRecorder
from amltk_testing.suite import comes_true

GRACE = 2.0
"""Seconds within which running calls end, once they are stopped."""


class SchedulerMachine(RuleBasedStateMachine):
    """Runs of a scheduler, whose steps Hypothesis chooses.

    Attributes:
        make: Makes the scheduler.
        gated: Whether calls wait until they are told how to end.
        seconds: How long a step may take.
    """

    make: Callable[[], Scheduler]
    gated: bool = True
    seconds: float = 30.0

    def __init__(self) -> None:
        super().__init__()
        self._folder = tempfile.TemporaryDirectory()
        self._numbers = itertools.count()
        self._gates: list[Path] = []
        self._futures: list[Any] = []
        self._outcome: list[ExitState | BaseException] = []
        self._thread: threading.Thread | None = None
        self._stopped_at: float | None = None
        self._ended_at = 0.0
        self._wait = True
        self._before = threads_and_processes()
        self.scheduler = self.make()
        self.recorder = EventRecorder(self.scheduler)

    # No lambdas: some versions of Hypothesis read the source of each, each time.

    def _is_idle(self) -> bool:
        return self._thread is None

    def _is_running(self) -> bool:
        return self._thread is not None and self._stopped_at is None

    def _has_calls(self) -> bool:
        return self._is_running() and bool(self._futures)

    def _is_ending(self) -> bool:
        return self._stopped_at is not None

    @precondition(_is_idle)
    @rule(wait=st.booleans())
    def start(self, wait: bool) -> None:
        """Begin the run."""
        self._wait = wait
        began = threading.Event()
        self.scheduler.on_start(began.set, limit=1)

        def run() -> None:
            try:
                self._outcome.append(self.scheduler.run(wait=wait, end_on_empty=False, on_exception="ignore"))
            except BaseException as error:  # looked at in the end
                self._outcome.append(error)
            self._ended_at = time.monotonic()

        self._thread = threading.Thread(target=run, name="amltk_testing: a run of the state machine", daemon=True)
        self._thread.start()
        assert began.wait(self.seconds), f"the run did not start within {self.seconds:g} s"

    @precondition(_is_running)
    @rule(fails=st.booleans())
    def submit(self, fails: bool) -> None:
        """Submit a call."""
        gate = Path(self._folder.name) / f"gate-{next(self._numbers)}"
        self._gates.append(gate)
        if not self.gated:
            gate.write_text("fail" if fails else "return", encoding="utf-8")
        self._futures.append(self._do(lambda: self.scheduler.submit(calls.obey, gate)))

    @precondition(_has_calls)
    @rule(number=st.integers(0, 1000), fails=st.booleans())
    def end_a_call(self, number: int, fails: bool) -> None:
        """Have a call return, or raise; a second word to the same call changes nothing."""
        _write(self._gates[number % len(self._gates)], "fail" if fails else "return")

    @precondition(_has_calls)
    @rule(number=st.integers(0, 1000))
    def cancel(self, number: int) -> None:
        """Cancel a call, whatever has become of it."""
        self._do(self._futures[number % len(self._futures)].cancel)

    @precondition(_is_running)
    @rule(inside=st.booleans())
    def stop(self, inside: bool) -> None:
        """Stop the run, from a callback or from this thread."""
        self._stopped_at = time.monotonic()
        if inside:
            self.scheduler.call_later(0, self.scheduler.stop)
        else:
            self.scheduler.stop()

    @precondition(_is_ending)
    @rule()
    def finish(self) -> None:
        """Wait for the end of the run, and check what holds then; the next run may come."""
        assert self._thread is not None
        assert self._stopped_at is not None
        if self._wait:  # what runs is waited for
            self._let_all_end()
        allowed = self.seconds + GRACE + 5
        self._thread.join(allowed)
        assert not self._thread.is_alive(), f"run() did not come back within {allowed:g} s after stop()"
        took = self._ended_at - self._stopped_at
        self._thread = self._stopped_at = None
        self._let_all_end()
        (outcome,) = self._outcome
        if isinstance(outcome, BaseException):
            raise outcome
        assert outcome.code is ExitState.Code.STOPPED
        assert took < allowed, f"run() came back {took:.1f} s after stop()"
        self.recorder.assert_calls_ended_once()
        self.recorder.assert_counts(on_future_submitted=len(self._futures))
        self.recorder.assert_last("on_finished")
        for _, error in self.recorder.received("on_future_exception"):
            notes = getattr(error, "__notes__", [])
            assert any("obey" in note for note in notes), (
                f"{error!r} does not tell which call failed; its notes: {notes}"
            )
        assert self.scheduler.queue == ()
        self.recorder.recorded.clear()
        self._futures.clear()
        self._outcome.clear()

    def teardown(self) -> None:
        """End the run, if that has not been done; see that the scheduler still works."""
        try:
            if self._is_running():
                self.stop(inside=False)
            if self._stopped_at is not None:
                self.finish()
            results: list[int] = []
            self.scheduler.on_start(lambda: self.scheduler.submit(calls.add, 1))
            self.scheduler.on_future_result(lambda _, result: results.append(result))
            self.scheduler.run(timeout=self.seconds)
            assert results == [2], "after all this, another run did not work"
            gone = comes_true(lambda: threads_and_processes() <= self._before, min(5, self.seconds))
            assert gone, f"threads or processes were left: {threads_and_processes() - self._before}"
        finally:
            self._let_all_end()
            self._folder.cleanup()

    def _let_all_end(self) -> None:
        for gate in self._gates:
            _write(gate, "return")

    def _do(self, function: Callable[[], Any]) -> Any:
        done: Future[Any] = Future()

        def step() -> None:
            try:
                done.set_result(function())
            except BaseException as error:  # raised in the thread of the test
                done.set_exception(error)

        self.scheduler.call_later(0, step)
        return done.result(self.seconds)


def _write(gate: Path, word: str) -> None:
    if not gate.exists():
        part = gate.with_suffix(".part")
        part.write_text(word, encoding="utf-8")
        part.rename(gate)


class AnyOrder(BackendSuite):
    """What happens to a run, in any order."""

    group: ClassVar[str] = "any order"

    def test_what_holds_always_holds_in_any_order(self) -> None:
        """Each call ends once and errors name it; `on_finished` is last; nothing is left; another run works."""
        suite = self

        class Machine(SchedulerMachine):
            make = staticmethod(suite.scheduler)
            gated = not suite.claims("blocks_the_run")
            seconds = suite.seconds

        check_in_any_order(Machine, self.examples)


def check_in_any_order(machine: type[SchedulerMachine], examples: int) -> None:
    """Run a machine so often, with sequences that are the same each time.

    Raises:
        AssertionError: Something did not hold; the sequence that shows it is printed.
    """
    how = settings(
        max_examples=examples,
        stateful_step_count=12,
        deadline=None,
        database=None,
        derandomize=True,
        phases=[Phase.generate],  # to look for a shorter sequence would repeat what may be a hang
        suppress_health_check=list(HealthCheck),
        print_blob=False,
    )
    run_state_machine_as_test(machine, settings=how)
