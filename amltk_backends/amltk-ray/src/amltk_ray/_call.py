"""A call on its way to a worker, and its future."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable, Mapping
from concurrent.futures import Future, InvalidStateError
from dataclasses import dataclass, field
from typing import Any

from amltk.calls import describe_call, name_of
from amltk.remote import unpicklable_call
from amltk_ray._worker import dumps

_log = logging.getLogger("amltk_ray")


@dataclass(eq=False)
class Call:
    """A call and the future that waits for it.

    Attributes:
        future: Of the caller's.
        fn: What is called, with `args` and `kwargs`: here only to name it when it fails.
        args: See above.
        kwargs: See above.
        data: The call as it is sent.
        token: Tells it from every other call.
        ref: Ray's, once the call has been given to it.
    """

    future: Future[Any]
    fn: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    data: bytes = field(repr=False)
    token: str = field(default_factory=lambda: uuid.uuid4().hex)
    ref: Any = field(default=None, repr=False)

    @property
    def name(self) -> str:
        """What a person would call the function."""
        return name_of(self.fn)

    def describe(self) -> str:
        """Return the call as text, for people: `train(3, lr=0.1)`, long values cut short."""
        return describe_call(self.fn, self.args, self.kwargs)

    def begin(self) -> bool:
        """Mark the future as running; False if nobody wants its result any more."""
        return self.future.set_running_or_notify_cancel()

    def fail(self, error: BaseException) -> None:
        """Have the future raise `error`."""
        self._settle(self.future.set_exception, error)

    def succeed(self, result: object) -> None:
        """Have the future return `result`."""
        self._settle(self.future.set_result, result)

    def _settle(self, settle: Callable[[Any], object], outcome: object) -> None:
        try:
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
