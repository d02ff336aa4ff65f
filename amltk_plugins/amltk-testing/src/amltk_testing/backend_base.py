"""The base of all groups of tests of a backend: opens executors, runs schedulers, skips after a basic failure."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Executor, Future
from pathlib import Path
from typing import Any, ClassVar, Literal

import pytest

from amltk.backend import Backend, Capabilities
from amltk.plugins import plugin_manager
from amltk.scheduling import ExitState, Scheduler
from amltk_testing import calls
from amltk_testing.suite import Suite, comes_true, fail, not_applicable, within

Claim = Literal[
    "blocks_the_run",
    "stops_running_work",
    "survives_dead_worker",
    "needs_pickling",
    "crosses_machines",
    "takes_any_function",
    "carries_any_exception",
    "accepts_options",
    "reports_execution",
    "carries_messages",
    "shares_objects",
]


class BackendSuite(Suite):
    """Attributes that the author of a backend sets, and methods that the tests use.

    Attributes:
        backend: The name of the backend, as in `with_<name>`.
        options: What its executors are made with.
        examples: How many sequences of events the state machine tries.
        shares: Packages that the plugin's module may import beside its own: of a light distribution that several
            plugins are built on.
    """

    backend: ClassVar[str] = ""
    options: ClassVar[Mapping[str, Any]] = {}
    examples: ClassVar[int] = 15
    shares: ClassVar[tuple[str, ...]] = ()

    @classmethod
    def subject(cls) -> str:
        """Return the backend's name."""
        return cls.backend

    @classmethod
    def found(cls) -> type[Backend]:
        """Return the backend's class."""
        return plugin_manager().backend(cls.backend)

    @classmethod
    def capabilities(cls) -> Capabilities:
        """Return the capabilities that the backend claims."""
        return cls.found().capabilities

    @classmethod
    def claims(cls, claim: Claim) -> bool:
        """Return whether the backend claims a capability."""
        return bool(getattr(cls.capabilities(), claim))

    @classmethod
    def needs(cls, claim: Claim) -> None:
        """Skip the test unless the backend claims a capability."""
        if not cls.claims(claim):
            not_applicable(f"{claim} is not claimed")

    @classmethod
    def needs_background(cls) -> None:
        """Skip the test if nothing can happen while a call runs."""
        if cls.claims("blocks_the_run"):
            not_applicable("blocks_the_run is claimed")

    @classmethod
    def blocked(cls, name: str) -> str | None:
        """Return the first of the tests that the one of this name rests on, if it fails."""
        if cls not in _first_failures:
            _first_failures[cls] = _first_failure(cls)
        failing = _first_failures[cls]
        order = [stage for stage, _ in STAGES]
        if failing is None or (name in order and order.index(name) <= order.index(failing)):
            return None
        return failing

    @classmethod
    def make(cls) -> Executor:
        """Return an executor of the backend, without looking whether it is one."""
        backend = cls.found()(**cls.options)
        return within(cls.seconds, f"open of {cls.backend}", backend.open)

    @contextlib.contextmanager
    def executor(self) -> Iterator[Executor]:
        """Open an executor; it is closed at the end, in time."""
        executor = self.make()
        try:
            yield executor
        finally:
            within(self.seconds, "shutdown()", lambda: executor.shutdown(cancel_futures=True))

    def scheduler(self) -> Scheduler:
        """Return a scheduler with the backend."""
        return Scheduler.with_backend(self.backend, **self.options)

    def run(self, scheduler: Scheduler, **options: Any) -> ExitState:
        """Run, and fail if that does not come to an end in time; exceptions of calls are left to their events."""
        end = 2 * self.seconds
        options = {"on_exception": "ignore", **options}
        return within(end, "run()", lambda: scheduler.run(**options))

    def result(self, future: Future[Any]) -> Any:
        """Return the result of a future, in time."""
        self.wait(future)
        return future.result()

    def error(self, future: Future[Any], kind: type[BaseException] | None = None) -> BaseException:
        """Return the exception of a future, in time, and check its type."""
        self.wait(future)
        error = future.exception()
        if error is None:
            fail(f"the call returned {future.result()!r}; it should have raised")
        if kind is not None and type(error) is not kind:
            fail(f"the call raised {kind.__name__}, and {type(error).__name__} arrived: {error}")
        return error

    def wait(self, *futures: Future[Any]) -> None:
        """Wait until futures are done, in time."""
        if not comes_true(lambda: all(future.done() for future in futures), self.seconds):
            number = sum(not future.done() for future in futures)
            fail(f"{number} of {len(futures)} futures were not resolved within {self.seconds:g} s")

    @classmethod
    def in_this_process(cls) -> bool:
        """Return whether calls run in the process of the tests."""
        return cls.where() == calls.where()

    @classmethod
    def on_this_machine(cls) -> bool:
        """Return whether calls run on the machine of the tests."""
        return cls.where()[0] == calls.where()[0]

    @classmethod
    def where(cls) -> tuple[str, int]:
        """Return machine and process of a call."""
        if cls not in _places:
            executor = cls.make()
            try:
                _places[cls] = executor.submit(calls.where).result(timeout=cls.seconds)
            finally:
                within(cls.seconds, "shutdown()", executor.shutdown)
        return _places[cls]

    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        """Return an empty folder that tests and workers see; override it if workers see only a shared file system."""
        return tmp_path


# Filled once for each class.
_first_failures: dict[type[BackendSuite], str | None] = {}
_places: dict[type[BackendSuite], tuple[str, int]] = {}


def check_loads(cls: type[BackendSuite]) -> None:
    """Check that the backend loads."""
    if not cls.backend:
        fail(f"{cls.__name__} has no backend: set the class attribute, as in backend = 'threads'")
    if not isinstance(cls.options, Mapping):
        fail(f"{cls.__name__}.options must be a mapping, as in {{'max_workers': 2}}, got {cls.options!r}")
    try:
        cls.found()
    except Exception as error:  # its message is enough
        fail(f"{type(error).__name__}: {error}")


def check_opens(cls: type[BackendSuite]) -> None:
    """Check that `open` returns an executor."""
    executor: object = cls.make()
    if not isinstance(executor, Executor):
        fail(
            f"open() with the options {dict(cls.options)!r} returned {executor!r} of type {type(executor).__name__}, "
            "which is no concurrent.futures.Executor: subclass that, and implement submit and shutdown"
        )
    within(cls.seconds, "shutdown()", executor.shutdown)


def check_calls(cls: type[BackendSuite]) -> None:
    """Check that a call returns its result."""
    executor = cls.make()
    ended = False
    try:
        future: object = within(cls.seconds, "submit(add, 2, 3)", lambda: executor.submit(calls.add, 2, 3))
        if not isinstance(future, Future):
            fail(f"submit returned {future!r} of type {type(future).__name__}, which is no concurrent.futures.Future")
        if not comes_true(future.done, cls.seconds):
            fail(f"the future of add(2, 3) was not resolved within {cls.seconds:g} s")
        ended = True
        if future.result() != 5:
            fail(f"add(2, 3) returned {future.result()!r}")
    finally:
        within(cls.seconds, "shutdown()", lambda: executor.shutdown(wait=ended, cancel_futures=True))


def check_options(cls: type[BackendSuite]) -> None:
    """Check that a scheduler can be made."""
    try:
        within(cls.seconds, "making a scheduler", lambda: Scheduler.with_backend(cls.backend, **cls.options))
    except (TypeError, ValueError) as error:
        fail(f"the options {dict(cls.options)!r} are refused: {error}")


def check_background(cls: type[BackendSuite]) -> bool:
    """Check `blocks_the_run`: unless claimed, `submit` comes back before the call has ended; say if it is true."""
    claimed = cls.claims("blocks_the_run")
    with cls.make() as executor:
        for seconds in (0.2,) if claimed else (0.2, 1, 3):  # a busy machine may hold up the first one
            if not executor.submit(calls.wait, seconds).done():
                return not claimed
    if not claimed:
        fail("blocks_the_run is not claimed, but submit comes back when the call has ended: claim it")
    return True


STAGES: tuple[tuple[str, Callable[[type[BackendSuite]], object]], ...] = (
    ("test_the_plugin_loads", check_loads),
    ("test_the_options_are_accepted", check_options),
    ("test_open_returns_an_executor", check_opens),
    ("test_a_call_returns_its_result", check_calls),
    ("test_submit_comes_back_before_the_call_has_ended", check_background),
)


def _first_failure(cls: type[BackendSuite]) -> str | None:
    for name, check in STAGES:
        try:
            check(cls)
        except (Exception, SystemExit, pytest.fail.Exception):  # the test of that name reports it
            return name
    return None
