"""A call on its way to a worker, and its future."""

from __future__ import annotations

import itertools
import logging
import re
from collections.abc import Callable, Mapping
from concurrent.futures import Future, InvalidStateError
from dataclasses import dataclass, field
from typing import Any

from amltk.calls import describe_call, name_of
from amltk.remote import unpicklable_call
from amltk_airflow._child import dumps
from amltk_airflow._messages import Begun

_log = logging.getLogger("amltk_airflow")
_LONGEST_NAME = 60


@dataclass(eq=False)
class Call:
    """A call and the future that waits for it.

    Attributes:
        future: Of the caller's.
        fn: What is called, with `args` and `kwargs`: here only to name it when it fails.
        args: See above.
        kwargs: See above.
        data: The call as it is sent.
        session: Of which it is one.
        number: Tells it from every other call of the session.
        attempt: Of which Airflow is asked to run it: more than one where its tasks fail before the call has begun.
        sent: Whether it lies in the store.
        asked: Whether Airflow has been asked to run it, with or without an answer.
        accepted: When Airflow has said that it will; None before.
        begun: Which process has taken it up.
        gone: Since when Airflow has no active run for it.
        ending: Since when nobody wants it any more.
        taken: What `begin` said.
    """

    future: Future[Any]
    fn: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    data: bytes = field(repr=False)
    session: str
    number: int = field(default_factory=itertools.count(1).__next__)
    attempt: int = 1
    sent: bool = False
    asked: bool = False
    accepted: float | None = None
    begun: Begun | None = None
    gone: float | None = None
    ending: float | None = None
    taken: bool | None = None

    @property
    def name(self) -> str:
        """What a person would call the function."""
        return name_of(self.fn)

    @property
    def id(self) -> str:
        """What the objects of this attempt in the store are called."""
        return f"{self.number}-{self.attempt}"

    @property
    def ids(self) -> list[str]:
        """The same of all attempts."""
        return [f"{self.number}-{attempt + 1}" for attempt in range(self.attempt)]

    @property
    def run_id(self) -> str:
        """The id of its run: what Airflow's pages show, so it begins with the function's name."""
        name = re.sub(r"[^A-Za-z0-9_.]+", "_", self.name).strip("_")[:_LONGEST_NAME]
        return f"{name or 'call'}-{self.session}-{self.id}"

    def describe(self) -> str:
        """Return the call as text, for people: `train(3, lr=0.1)`, long values cut short."""
        return describe_call(self.fn, self.args, self.kwargs)

    def try_again(self) -> None:
        """Have another attempt, of which nothing has been done yet."""
        self.attempt += 1
        self.sent = self.asked = False
        self.accepted = self.gone = None

    def begin(self) -> bool:
        """Mark the future as running; False if nobody wants its result any more."""
        if self.taken is None:
            self.taken = self.future.set_running_or_notify_cancel()
        return self.taken

    def fail(self, error: BaseException) -> None:
        """Have the future raise `error`."""
        self._settle(self.future.set_exception, error)

    def succeed(self, result: object) -> None:
        """Have the future return `result`."""
        self._settle(self.future.set_result, result)

    def _settle(self, settle: Callable[[Any], object], outcome: object) -> None:
        try:
            if self.begin():
                settle(outcome)
        except InvalidStateError:
            _log.exception("The future of %s was settled by somebody else", self.describe())


def pack(fn: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> bytes:
    """Return a call as it is sent.

    Raises:
        pickle.PicklingError: Something in it can't be pickled; the message says what.
        Exception: Whatever the user's own `__reduce__` or `__getstate__` raises; also SystemExit.
    """
    try:
        return dumps((fn, args, kwargs))
    except (Exception, SystemExit) as error:
        raise unpicklable_call(error, fn, args, kwargs, dumps) from error
