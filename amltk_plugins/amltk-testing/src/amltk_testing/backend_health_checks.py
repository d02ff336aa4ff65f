"""Tests of the health checks that a backend gives `amltk doctor`."""

from __future__ import annotations

import contextlib
import functools
import sys
import threading
from collections.abc import Generator, Iterable, Iterator
from typing import ClassVar

from amltk.backend import Backend, HealthCheck, overrides
from amltk_testing.backend_base import BackendSuite
from amltk_testing.suite import fail, not_applicable, within

STARTS = {
    *("subprocess.Popen", "os.system", "os.fork", "os.forkpty", "os.posix_spawn", "os.exec"),
    *("_thread.start_new_thread", "_thread.start_joinable_thread", "socket.connect"),
}
"""The audit events that a health check may cause, and neither `__init__` nor `health_checks` may."""


class HealthChecks(BackendSuite):
    """What `amltk doctor` gets from the backend."""

    group: ClassVar[str] = "health checks"

    def test_making_the_backend_starts_nothing(self) -> None:
        """`__init__` looks at the options, and no more: a scheduler that never runs leaves nothing behind."""
        self.scheduler()  # what is imported to look at them may do more, once
        with _nothing_starts("making the backend, in its __init__,", "open"):
            self._backend()

    def test_health_checks_start_nothing_by_themselves(self) -> None:
        """They can be looked at and given back, as `--no-run` does, and nothing is started or has to be cleaned up."""
        backend = self._checked()
        what = "giving the health checks, or closing them,"
        with _nothing_starts(what, "the check itself"):
            found: list[object] = list(backend.health_checks())
        with _nothing_starts(what, "the check itself"), _closing(backend.health_checks()) as given:
            next(iter(given), None)
        for each in found:
            if not isinstance(each, HealthCheck):
                kind = type(each).__name__
                fail(f"health_checks gave {each!r} of type {kind}, which is no amltk.backend.HealthCheck")
        names = [each.name for each in found if isinstance(each, HealthCheck)]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            fail(f"more than one health check has the name {twice[0]!r}")

    def test_health_checks_find_nothing_wrong(self) -> None:
        """If the backend works with the options of the tests, each check returns its finding, as a string."""
        with _closing(self._checked().health_checks()) as given:
            for each in given:
                found: object = within(self.seconds, f"the health check {each.name!r}", each.check)
                if not isinstance(found, str):
                    fail(f"the health check {each.name!r} returned {found!r}; return a str, or raise what is wrong")

    def _checked(self) -> Backend:
        if not overrides(self.found(), "health_checks"):
            not_applicable("the backend has no health checks")
        return self._backend()

    def _backend(self) -> Backend:
        return self.found()(**self.options)


@contextlib.contextmanager
def _closing(given: Iterable[HealthCheck]) -> Iterator[Iterable[HealthCheck]]:
    try:
        yield given
    finally:
        if isinstance(given, Generator):
            given.close()


@contextlib.contextmanager
def _nothing_starts(what: str, where: str) -> Iterator[None]:
    """Fail if this thread starts something, or raises.

    Args:
        what: What happens here.
        where: What may start something instead.
    """
    _add_hook()
    started = _started[threading.get_ident()] = []
    try:
        yield
    except Exception as error:
        fail(f"{what} raises: {type(error).__name__}: {error}")
    finally:
        del _started[threading.get_ident()]
    if started:
        fail(f"{what} starts something ({started[0]}); only {where} may do that")


_started: dict[int, list[str]] = {}


@functools.cache
def _add_hook() -> None:
    """Watch what is started; once, since a hook stays until the process ends."""

    def note(event: str, _arguments: object) -> None:
        if event in STARTS and (started := _started.get(threading.get_ident())) is not None:
            started.append(event)

    sys.addaudithook(note)
