"""The base of all suites: groups, tests that do not apply or cannot run, and time limits.

The score card reads properties of a test's report, which stay with the report in other processes, too:

    ("amltk", (subject, group))     the test belongs to a suite
    ("amltk-told", text)            a note for the author, which is no failure
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any, ClassVar, NoReturn, TypeVar

import pytest

T = TypeVar("T")

NOT_APPLICABLE = "not applicable: "
NOT_RUN = "not run: "


class Suite:
    """The base of every group of tests; a group is a class with a `group` of its own.

    Attributes:
        group: The subject of the tests of a class: a row of the score card.
        seconds: How long anything may take that should happen soon. Raise it where workers take long to start.
    """

    group: ClassVar[str] = ""
    seconds: ClassVar[float] = 30.0

    @classmethod
    def subject(cls) -> str:
        """Return the name of the tested backend or plugin, for the score card."""
        raise NotImplementedError

    @classmethod
    def blocked(cls, name: str) -> str | None:  # noqa: ARG003 - there is none here
        """Return the test that fails and without which the test of this name means nothing, if there is one."""
        return None

    @pytest.fixture(autouse=True)
    def _amltk_suite(self, request: pytest.FixtureRequest) -> None:
        cls, name = type(self), request.function.__name__
        group = next((vars(each).get("group", "") for each in cls.__mro__ if name in vars(each)), "")
        request.node.user_properties.append(("amltk", (cls.subject(), group or "your own")))
        self._tell = request.node.user_properties.append
        blocked = cls.blocked(name)
        if blocked is not None:
            pytest.skip(f"{NOT_RUN}{blocked} fails")

    def tell(self, text: str) -> None:
        """Add a note to the score card, which is no failure."""
        self._tell(("amltk-told", text))


def not_applicable(reason: str) -> NoReturn:
    """Skip the test that is running; `reason` names the capability, or what else it would need."""
    pytest.skip(f"{NOT_APPLICABLE}{reason}")


def fail(text: str) -> NoReturn:
    """Fail the test that is running, with no more than `text`."""
    raise pytest.fail.Exception(text, pytrace=False) from None  # what it was made of is in the text


def within(seconds: float, what: str, function: Callable[[], T]) -> T:
    """Return what `function` returns, or fail if it takes longer than `seconds`.

    It is called in a thread, which is left alone if it does not come back.
    """
    outcome: list[tuple[T | None, BaseException | None]] = []

    def work() -> None:
        try:
            outcome.append((function(), None))
        except BaseException as error:  # raised below, in the thread of the test
            outcome.append((None, error))

    thread = threading.Thread(target=work, name=f"amltk_testing: {what}", daemon=True)
    thread.start()
    thread.join(seconds)
    if not outcome:
        fail(f"{what} took longer than {seconds:g} s")
    result, error = outcome[0]
    if error is not None:
        raise error
    return result  # type: ignore[return-value] # without an error it is there


def until(condition: Callable[[], Any], seconds: float, what: str) -> None:
    """Wait until a condition holds, or fail."""
    if not comes_true(condition, seconds):
        fail(f"{what}, within {seconds:g} s")


def comes_true(condition: Callable[[], Any], seconds: float) -> bool:
    """Wait until a condition holds, and return whether it did in time."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.002)
    return True
