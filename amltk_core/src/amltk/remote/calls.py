"""A call that crosses to another process, and what comes of it.

    main process                                              worker

    call = RemoteCall(future, ..., dump_call(...))
    call.data ─────────────── as the backend sends it ──────> run_call(call.data)
    call.settle(*outcome) <── as the backend sends it ─────── outcome: whether it returned, and what, pickled

Nothing that a call is, raises or returns makes `run_call` or `settle` raise: it all ends in the call's future.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
from collections.abc import Callable, Mapping
from concurrent.futures import Future, InvalidStateError
from dataclasses import dataclass, field
from typing import Any

from amltk.calls import describe_call, name_of
from amltk.exceptions import add_note
from amltk.remote.exceptions import dump_exception, load_exception
from amltk.remote.pickling import Dumps, dumps, dumps_result, loads
from amltk.remote.unpicklable import unpicklable_call, unpicklable_result

_log = logging.getLogger("amltk")


def dump_call(fn: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any], dumps: Dumps = dumps) -> bytes:
    """Return a call, pickled.

    Raises:
        pickle.PicklingError: Something in it can't be pickled; the message says what.
        Exception: Whatever the user's own `__reduce__` or `__getstate__` raises; also SystemExit.
    """
    try:
        return dumps((fn, args, kwargs))
    except (Exception, SystemExit) as error:
        raise unpicklable_call(error, fn, args, kwargs, dumps) from error


def run_call(data: bytes, dumps: Dumps = dumps_result) -> tuple[bool, bytes]:
    """Run a call of `dump_call`, and flush what it has printed; this never raises.

    Returns:
        Whether the call has returned, and what, pickled; or else its exception, of `dump_exception`.
    """
    try:
        outcome = True, _run(data, dumps)
    except BaseException as error:  # also SystemExit and KeyboardInterrupt: it is the call that ends, not the worker
        outcome = False, dump_exception(error, dumps)
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):  # the user may have closed or replaced it
            stream.flush()
    return outcome


def _run(data: bytes, dumps: Dumps) -> bytes:
    try:
        fn, args, kwargs = loads(data)
    except BaseException as error:
        add_note(error, f"Raised while the call was unpickled in worker process {os.getpid()}.")
        raise
    result = fn(*args, **kwargs)
    try:
        return dumps(result)
    except (Exception, SystemExit) as error:
        raise unpicklable_result(error, fn, result, dumps) from error


@dataclass(eq=False)
class RemoteCall:
    """A call and the future that waits for it; to be extended by what a backend notes of each.

    Attributes:
        future: Of the caller's.
        fn: What is called, with `args` and `kwargs`: here only to name it when it fails.
        args: See above.
        kwargs: See above.
        data: The call, of `dump_call`.
    """

    future: Future[Any]
    fn: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    data: bytes = field(repr=False)
    _wanted: bool | None = field(default=None, init=False, repr=False)

    @property
    def name(self) -> str:
        """What a person would call the function."""
        return name_of(self.fn)

    def describe(self) -> str:
        """Return the call as text, for people: `train(3, lr=0.1)`, long values cut short."""
        return describe_call(self.fn, self.args, self.kwargs)

    def begin(self) -> bool:
        """Mark the future as running, the first time; False if nobody wanted its result any more."""
        if self._wanted is None:
            self._wanted = self.future.set_running_or_notify_cancel()
        return self._wanted

    def fail(self, error: BaseException) -> None:
        """Have the future raise `error`, if it is wanted."""
        self._end(self.future.set_exception, error)

    def succeed(self, result: object) -> None:
        """Have the future return `result`, if it is wanted."""
        self._end(self.future.set_result, result)

    def settle(self, returned: bool, data: bytes | memoryview) -> None:
        """End the future with what `run_call` returned; what raises when it is unpickled is the call's exception."""
        if not returned:
            self.fail(load_exception(data))
            return
        try:
            result = loads(data)
        except BaseException as error:
            add_note(error, f"Raised while what {self.name} returned was unpickled in the main process.")
            self.fail(error)
        else:
            self.succeed(result)

    def _end(self, settle: Callable[[Any], object], outcome: object) -> None:
        try:
            if self.begin():
                settle(outcome)
        except InvalidStateError:
            _log.exception("The future of %s was settled by somebody else", self.describe())
