"""Tests of calls: their arguments, results and exceptions."""

from __future__ import annotations

import asyncio
import threading
import traceback
from collections import Counter
from concurrent.futures import Future
from typing import Any, ClassVar

import pytest

from amltk_testing import calls
from amltk_testing.backend_base import BackendSuite
from amltk_testing.suite import comes_true, fail

ENGINE_OPTIONS = (
    "actor", "allow_other_workers", "args", "callback", "chunksize", "daemon", "executor", "fn", "fifo_timeout", "func",
    "function", "future", "key", "kwargs", "max_retries", "name", "num_cpus", "num_gpus", "num_returns", "options",
    "priority", "pure", "resources", "retries", "self", "task", "timeout", "workers",
)  # fmt: skip
"""Keywords that have a meaning to one engine or another; they are the function's all the same."""


class Results(BackendSuite):
    """Results of calls."""

    group: ClassVar[str] = "results"

    def test_many_calls_return_their_own_results(self) -> None:
        """Each of a hundred calls returns its own result, in any order."""
        with self.executor() as executor:
            futures = [executor.submit(calls.add, number) for number in range(100)]
            assert [self.result(future) for future in futures] == [number + 1 for number in range(100)]

    def test_equal_calls_run_each_time(self) -> None:
        """The same function with the same arguments, submitted twice, runs twice."""
        with self.executor() as executor:
            first, second = (self.result(executor.submit(calls.token, 1)) for _ in range(2))
            third, fourth = [executor.submit(calls.token, 2) for _ in range(2)]
            tokens = [first, second, self.result(third), self.result(fourth)]
        if len(set(tokens)) != 4:
            fail("equal calls were run once, and shared the result; pass pure=False, or whatever turns that off")

    def test_each_future_is_resolved_once(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """No future is resolved again, nor does the backend try to: callbacks are called once, the result stays."""
        called: Counter[int] = Counter()
        seen: dict[int, Any] = {}
        resolved: list[Future[Any]] = []

        def note(future: Future[Any]) -> None:
            called[id(future)] += 1
            seen.setdefault(id(future), future.result())

        def noted(name: str) -> None:
            original = getattr(Future, name)

            def resolve(future: Future[Any], outcome: Any) -> None:
                resolved.append(future)
                original(future, outcome)

            monkeypatch.setattr(Future, name, resolve)

        noted("set_result")
        noted("set_exception")
        before = set(threading.enumerate())
        with self.executor() as executor:
            futures = [executor.submit(calls.add, number) for number in range(10)]
            for future in futures:
                future.add_done_callback(note)
            self.wait(*futures)
        comes_true(lambda: set(threading.enumerate()) <= before, min(1, self.seconds))  # one may end late
        again = [
            number
            for number, future in enumerate(futures)
            if called[id(future)] != 1
            or sum(each is future for each in resolved) > 1
            or seen[id(future)] != future.result()
        ]
        if again:
            fail(f"{len(again)} of 10 futures were resolved more than once, or it was tried; each is resolved once")

    def test_large_arguments_and_results_arrive(self) -> None:
        """Five million bytes go there and come back."""
        data = b"0123456789" * 500_000
        with self.executor() as executor:
            (received,), _ = self.result(executor.submit(calls.echo, data))
        assert received == data


class Arguments(BackendSuite):
    """Arguments of calls."""

    group: ClassVar[str] = "arguments"

    def test_positional_arguments_reach_the_function(self) -> None:
        """All of them, in their order."""
        with self.executor() as executor:
            args, _ = self.result(executor.submit(calls.echo, 1, None, "x", (2, [3]), {"a": {4}}))
        assert args == (1, None, "x", (2, [3]), {"a": {4}})

    def test_keywords_reach_the_function(self) -> None:
        """All of them, also those that are named like an option of an engine."""
        sent = {"alpha": 0.1, **{name: f"for the function: {name}" for name in ENGINE_OPTIONS}}
        with self.executor() as executor:
            try:
                future = executor.submit(calls.echo, **sent)
            except TypeError as error:
                fail(f"submit did not take the keywords of the function: {error}")
            self.wait(future)
            raised = future.exception()
            received = {} if raised else future.result()[1]
        missing = sorted(name for name in sent if received.get(name) != sent[name])
        if missing:
            fail(f"these keywords did not reach the function: {', '.join(missing)} {raised or ''}")

    def test_a_task_passes_its_arguments(self) -> None:
        """By way of a scheduler and a task, too."""
        scheduler = self.scheduler()
        task = scheduler.task(calls.echo)
        results: list[Any] = []
        task.on_result(lambda _, result: results.append(result))
        scheduler.on_start(lambda: task(1, two=2))
        self.run(scheduler)
        assert results == [((1,), {"two": 2})]


class Exceptions(BackendSuite):
    """Exceptions of calls."""

    group: ClassVar[str] = "exceptions"

    def test_an_exception_arrives(self) -> None:
        """With its type and arguments; and the executor goes on."""
        with self.executor() as executor:
            error = self.error(executor.submit(calls.raise_it, ValueError, "why", 3), ValueError)
            assert error.args == ("why", 3)
            assert self.result(executor.submit(calls.add, 1)) == 2

    def test_an_exception_tells_where_it_was_raised(self) -> None:
        """Its traceback, a note or a cause shows the function that raised, wherever that ran."""
        with self.executor() as executor:
            error = self.error(executor.submit(calls.raise_it, ValueError, "why"))
        text = "".join(traceback.format_exception(error))
        if "in raise_it" not in text:
            fail(
                "the printed exception does not show `raise_it`, the function that raised it; in the worker, use "
                f"amltk.remote.pack_exception, which keeps the traceback. Printed:\n{text}"
            )

    @pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt, GeneratorExit, asyncio.CancelledError])
    def test_what_ends_programs_ends_only_the_call(self, kind: type[BaseException]) -> None:
        """The call failed; it was not cancelled, and workers and program go on."""
        with self.executor() as executor:
            future = executor.submit(calls.raise_it, kind, "x")
            self.wait(future)
            if future.cancelled():
                fail(f"a function that raises {kind.__name__} has failed; its future says that it was cancelled")
            assert future.exception() is not None
            assert self.result(executor.submit(calls.add, 1)) == 2

    def test_an_exception_arrives_whatever_it_holds(self) -> None:
        """`carries_any_exception`: an own `__init__`, a lock, a cause and notes; the executor goes on after each."""
        claimed = self.claims("carries_any_exception")
        problem = self._problem_with_exceptions()
        if claimed and problem:
            fail(f"carries_any_exception is claimed, but {problem}; see amltk.remote.pack_exception")
        if not claimed and problem:
            self.needs("carries_any_exception")
        if not claimed:
            self.tell("carries_any_exception: claim it, it holds")

    def _problem_with_exceptions(self) -> str | None:
        with self.executor() as executor:
            errors: list[BaseException] = []
            for function in (calls.raise_own_init, calls.raise_with_lock, calls.raise_chained):
                try:
                    future = executor.submit(function)
                    self.wait(future)
                except (Exception, pytest.fail.Exception) as error:
                    return f"{function.__name__} has no outcome: {type(error).__name__}: {error}"
                errors.append(future.exception() or AssertionError("it returned"))
            own, lock, chained = errors
            if "code 7" not in str(own):
                return f"of {calls.OwnInit.__name__}('code 7') arrives {own!r}"
            if "it holds a lock" not in str(lock):
                return f"of ValueError('it holds a lock') arrives {lock!r}"
            text = "".join(traceback.format_exception(chained))
            if "the cause" not in text or "a note" not in text:
                return f"of an exception with cause and note arrives {text}"
        return None
