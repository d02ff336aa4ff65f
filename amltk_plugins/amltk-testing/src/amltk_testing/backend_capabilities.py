"""Tests of the capabilities: a false claim fails; the score card suggests claims that hold and are not made."""

from __future__ import annotations

import functools
import threading
import time
from concurrent.futures import Future
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar

import psutil
import pytest

from amltk.backend import AcceptsOptions, CallOptions, CarriesMessages, SharesObjects, overrides
from amltk.exceptions import CallTimeoutError, NotSupportedError
from amltk_testing import calls
from amltk_testing.backend_base import BackendSuite, Claim
from amltk_testing.backend_runs import Stopping
from amltk_testing.suite import comes_true, fail, not_applicable


class Pickling(BackendSuite):
    """What happens to arguments and results that can't cross to a worker."""

    group: ClassVar[str] = "pickling"

    def test_an_argument_that_can_not_be_pickled_fails_its_call(self) -> None:
        """With an error, by `submit` or by the future; and the executor goes on."""
        self.needs("needs_pickling")
        with self.executor() as executor:
            try:
                future: Future[Any] | None = executor.submit(calls.echo, threading.Lock())
            except Exception:  # at once is fine, too
                future = None
            if future is not None:
                self.error(future)
            assert self.result(executor.submit(calls.add, 1)) == 2

    def test_a_result_that_can_not_be_pickled_fails_its_call(self) -> None:
        """With an error; and the executor goes on."""
        self.needs("needs_pickling")
        with self.executor() as executor:
            self.error(executor.submit(calls.unpicklable_result))
            assert self.result(executor.submit(calls.add, 1)) == 2

    def test_an_argument_that_can_not_be_read_fails_its_call(self) -> None:
        """With an error; and where `survives_dead_worker` is claimed, the executor goes on."""
        self.needs("needs_pickling")
        with self.executor() as executor:
            self.error(executor.submit(calls.echo, calls.FailsToLoad()))
            if self.claims("survives_dead_worker"):
                assert self.result(executor.submit(calls.add, 1)) == 2


class Functions(BackendSuite):
    """Functions that workers could not import."""

    group: ClassVar[str] = "functions by value"

    def test_lambdas_and_closures_run(self) -> None:
        """`takes_any_function`: a lambda, and a nested function with its enclosed variables."""
        number = 40

        def nested(x: int) -> int:
            return x + number

        self._check(lambda executor: executor.submit(lambda x: x + number, 2), 42)
        self._check(lambda executor: executor.submit(nested, 3), 43)

    def test_functions_as_arguments_run(self) -> None:
        """`takes_any_function`: also where they are arguments."""
        self._check(lambda executor: executor.submit(calls.apply, 20, lambda x: x + 1), 21)

    def test_methods_and_partials_run(self) -> None:
        """What the worker can import, wrapped by what pickle knows, works with every backend."""
        with self.executor() as executor:
            assert self.result(executor.submit(functools.partial(calls.add, 1), y=5)) == 6
            assert self.result(executor.submit("a,b".split, ",")) == ["a", "b"]

    def _check(self, submit: Any, expected: int) -> None:
        problem = ""
        with self.executor() as executor:
            try:
                future = submit(executor)
                self.wait(future)
                error = future.exception()
                problem = f"{type(error).__name__}: {error}" if error else ""
            except Exception as error:  # by submit or by the future
                problem = f"{type(error).__name__}: {error}"
        if problem and not self.claims("takes_any_function"):
            self.needs("takes_any_function")
        if problem:
            fail(f"takes_any_function is claimed, but the call failed: {problem}")
        assert future.result() == expected
        if not self.claims("takes_any_function"):
            self.tell("takes_any_function: claim it, it holds")


class DeadWorkers(BackendSuite):
    """A worker process that dies in the middle of a call."""

    group: ClassVar[str] = "dead worker"

    def test_a_call_whose_worker_dies_fails(self, folder: Path) -> None:
        """With an exception, after a while, instead of never being resolved; and it is not run again."""
        self._needs_processes()
        with self.executor() as executor:
            self.error(executor.submit(calls.die, folder))
        ran = len(list(folder.glob("died-*")))
        if ran != 1:
            fail(f"the call was run {ran} times; a call that killed its worker must not be run again by itself")

    def test_other_calls_survive_a_dead_worker(self, folder: Path) -> None:
        """`survives_dead_worker`: those before it, those beside it and those after it return."""
        if self.in_this_process():
            if self.claims("survives_dead_worker"):
                fail("survives_dead_worker is claimed, but calls run in this process: it would die with them")
            not_applicable("survives_dead_worker is not claimed, and calls run in this process")
        problem = self._problem(folder)
        if problem and self.claims("survives_dead_worker"):
            fail(f"survives_dead_worker is claimed, but {problem}")
        if problem:
            self.needs("survives_dead_worker")
        if not self.claims("survives_dead_worker"):
            self.tell("survives_dead_worker: claim it, it holds")

    def _problem(self, folder: Path) -> str | None:
        with self.executor() as executor:
            futures: list[Future[Any]] = []
            try:
                futures += [executor.submit(calls.add, number) for number in range(5)]
                dead = executor.submit(calls.die, folder)
                futures += [executor.submit(calls.add, number) for number in range(5, 10)]
                self.wait(dead, *futures)
                futures.append(executor.submit(calls.add, 10))
                self.wait(*futures)
            except (Exception, pytest.fail.Exception) as error:  # a broken pool takes no calls
                return f"{type(error).__name__}: {error}"
            failed = [raised for future in futures if (raised := future.exception()) is not None]
        return f"of {len(futures)} others {len(failed)} failed, as with {failed[0]!r}" if failed else None

    def _needs_processes(self) -> None:
        if self.in_this_process():
            not_applicable("calls run in this process")


class Claims(Stopping):
    """The capabilities that no other group tests."""

    group: ClassVar[str] = "capabilities"

    def test_stop_now_ends_what_runs(self, folder: Path) -> None:
        """`stops_running_work`: when the run is over, the call has stopped."""
        self._needs_stopping()
        self.stopped(folder, calls.tick, folder, folder / "gate", release=False)
        before = (folder / "ticks").stat().st_size
        time.sleep(0.3)  # sixty ticks
        running = (folder / "ticks").stat().st_size > before
        (folder / "gate").touch()
        self._judge("stops_running_work", "the call ran on when the run was over" if running else "")

    def test_stop_now_ends_children_of_calls(self, folder: Path) -> None:
        """`stops_running_work`: and so have the processes that the call has started."""
        self._needs_stopping()
        if not self.on_this_machine():
            not_applicable("calls run on other machines, whose processes can't be seen from here")
        self.stopped(folder, calls.have_a_child, folder, release=False)
        pid = int((folder / "child").read_text(encoding="utf-8"))
        gone = comes_true(lambda: not _alive(pid), 1)
        if not gone:
            psutil.Process(pid).kill()
        (folder / "gate").touch()
        self._judge("stops_running_work", "" if gone else f"the process {pid}, a child of the call, was left")

    def test_options_of_calls_are_those_that_are_claimed(self) -> None:
        """`accepts_options`: `submit_call` takes these, refuses the others, and does what `submit` does."""
        claimed = self.capabilities().accepts_options
        with self.executor() as executor:
            offered = executor.accepts_options if isinstance(executor, AcceptsOptions) else ()
            if sorted(offered) != sorted(claimed):
                fail(
                    f"accepts_options={claimed!r} is claimed, but the executor's accepts_options is {offered!r}: an "
                    "executor that accepts some has this attribute, and submit_call"
                )
            if not isinstance(executor, AcceptsOptions):
                not_applicable("accepts_options is not claimed")
            for options in (CallOptions(timeout=60), CallOptions(priority=1), CallOptions(resources={"GPU": 1})):
                if options.given[0] in claimed:
                    continue
                try:
                    executor.submit_call(calls.add, (1,), {}, options)
                except NotSupportedError:
                    continue
                fail(f"{options} is not claimed, but submit_call takes it: refuse it by options.check_accepted")
            kwargs = MappingProxyType({"fn": 2, "options": 3})
            echoed = self.result(executor.submit_call(calls.echo, (1,), kwargs, CallOptions()))
            if echoed != ((1,), dict(kwargs)):
                fail(f"submit_call(echo, (1,), {dict(kwargs)}, CallOptions()) gave the function {echoed!r}")

    def test_a_call_that_takes_too_long_is_ended(self, folder: Path) -> None:
        """`accepts_options`: with `timeout`, it fails with `CallTimeoutError` and has stopped; a quick one returns."""
        if "timeout" not in self.capabilities().accepts_options:
            not_applicable("accepts_options without 'timeout'")
        with self.executor() as executor:
            if not isinstance(executor, AcceptsOptions):
                fail("accepts_options is claimed, but the executor has no submit_call")
            endless = executor.submit_call(calls.tick, (folder, folder / "gate"), {}, CallOptions(timeout=0.5))
            try:
                self.wait(endless)
                error = endless.exception()
                before = (folder / "ticks").stat().st_size
                time.sleep(0.3)  # sixty ticks
                running = (folder / "ticks").stat().st_size > before
            finally:
                (folder / "gate").touch()  # nobody waits for a call that has not been ended
            if not isinstance(error, CallTimeoutError):
                fail(f"a call that took too long ended with {error!r}, not with a CallTimeoutError")
            if running:
                fail("the call ran on after its timeout")
            quick = executor.submit_call(calls.add, (1,), {}, CallOptions(timeout=float(self.seconds)))
            assert self.result(quick) == 2

    def test_messages_can_be_sent(self) -> None:
        """`carries_messages`: the executor has the protocol's methods."""
        self.needs("carries_messages")
        with self.executor() as executor:
            if not isinstance(executor, CarriesMessages):
                fail("carries_messages is claimed, but the executor lacks send or on_message")

    def test_a_shared_object_reaches_calls(self) -> None:
        """`shares_objects`: a call receives the object itself, not its handle."""
        self.needs("shares_objects")
        with self.executor() as executor:
            if not isinstance(executor, SharesObjects):
                fail("shares_objects is claimed, but the executor lacks share or release")
            shared = executor.share(["shared"])
            for _ in range(2):
                echoed = self.result(executor.submit(calls.echo, shared, key=shared))
                if echoed != ((["shared"],), {"key": ["shared"]}):
                    fail(f"a shared list reached the function as {echoed!r}")
            executor.release(shared)
            assert self.result(executor.submit(calls.add, 1)) == 2

    def test_needs_pickling_is_true(self) -> None:
        """`needs_pickling`: not claimed, objects of any kind reach the function as they are."""
        lock = threading.Lock()
        with self.executor() as executor:
            try:
                future = executor.submit(calls.echo, lock)
                self.wait(future)
                same = future.exception() is None and future.result()[0][0] is lock
            except Exception:  # by submit or by the future
                same = False
        if self.claims("needs_pickling"):
            if same:
                self.tell("needs_pickling: take it back, objects reach the function as they are")
        elif not same:
            fail(
                "needs_pickling is not claimed, but a lock did not reach the function and come back as it is: claim it"
            )

    def test_crosses_machines_is_true(self) -> None:
        """`crosses_machines`: not claimed, calls run here; claimed, they could run elsewhere."""
        if not self.claims("crosses_machines"):
            if not self.on_this_machine():
                fail("crosses_machines is not claimed, but calls run on another machine: claim it")
            return
        if self.in_this_process():
            fail("crosses_machines is claimed, but calls run in this process, with options that do not say so")
        if not self.claims("needs_pickling"):
            fail("crosses_machines is claimed, but needs_pickling is not: nothing crosses machines unpickled")

    def _needs_stopping(self) -> None:
        self.needs_background()
        if not overrides(self.found(), "kill"):
            self.needs("stops_running_work")

    def _judge(self, claim: Claim, problem: str) -> None:
        if problem and self.claims(claim):
            fail(f"{claim} is claimed, but {problem}")
        if problem:
            self.needs(claim)
        if not self.claims(claim):
            self.tell(f"{claim}: claim it, it holds")


def _alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
