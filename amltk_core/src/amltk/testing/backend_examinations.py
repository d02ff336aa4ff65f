"""Is what a backend gives `amltk doctor` what doctor expects?"""

from __future__ import annotations

import contextlib
import functools
import sys
import threading
from collections.abc import Callable, Generator, Iterable, Iterator
from typing import ClassVar

from amltk.backend import Examination
from amltk.testing.backend_base import BackendSuite
from amltk.testing.suite import fail, not_applicable, within

STARTS = {
    *("subprocess.Popen", "os.system", "os.fork", "os.forkpty", "os.posix_spawn", "os.exec"),
    *("_thread.start_new_thread", "socket.connect"),
}
"""The audit events of what an examination may do, and the listing of examinations may not."""


class Examinations(BackendSuite):
    """What the backend examines of itself."""

    group: ClassVar[str] = "examinations"

    def test_examinations_start_nothing_by_themselves(self) -> None:
        """They can be looked at and given back, as `--no-run` does, and nothing is started or has to be cleaned up."""
        examinations = self._examinations()
        with _nothing_starts():
            found: list[object] = list(examinations())
        with _nothing_starts(), _closing(examinations()) as given:
            next(iter(given), None)
        for each in found:
            if not isinstance(each, Examination):
                fail(f"examinations gave {each!r} of type {type(each).__name__}, which is no amltk.backend.Examination")
        names = [each.name for each in found if isinstance(each, Examination)]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            fail(f"more than one examination has the name {twice[0]!r}")

    def test_examinations_find_nothing_wrong(self) -> None:
        """Where the backend works with the options of the tests, each examination says what it found, in a string."""
        with _closing(self._examinations()()) as given:
            for each in given:
                found: object = within(self.seconds, f"the examination {each.name!r}", each.examine)
                if not isinstance(found, str):
                    fail(f"the examination {each.name!r} returned {found!r}; return a str, or raise what is wrong")

    def _examinations(self) -> Callable[[], Iterable[Examination]]:
        examinations = self.found().examinations
        if examinations is None:
            not_applicable("the backend has no examinations")
        return functools.partial(examinations, **self.options)


@contextlib.contextmanager
def _closing(given: Iterable[Examination]) -> Iterator[Iterable[Examination]]:
    try:
        yield given
    finally:
        if isinstance(given, Generator):
            given.close()


@contextlib.contextmanager
def _nothing_starts() -> Iterator[None]:
    """Fail if this thread starts something, or raises."""
    _add_hook()
    started = _started[threading.get_ident()] = []
    try:
        yield
    except Exception as error:
        fail(f"examinations can't be given back before they are performed: {type(error).__name__}: {error}")
    finally:
        del _started[threading.get_ident()]
    if started:
        fail(f"giving the examinations, or closing them, starts something ({started[0]}); only examine may do that")


_started: dict[int, list[str]] = {}


@functools.cache
def _add_hook() -> None:
    """Watch what is started; once, since a hook stays until the process ends."""

    def note(event: str, _arguments: object) -> None:
        if event in STARTS and (started := _started.get(threading.get_ident())) is not None:
            started.append(event)

    sys.addaudithook(note)
