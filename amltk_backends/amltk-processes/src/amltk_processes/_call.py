"""A call on its way through the pool, and its future."""

from __future__ import annotations

import contextlib
import logging
import reprlib
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from typing import Any, NamedTuple

from amltk_processes._frames import CHUNK, Memory
from amltk_processes._pickling import Function, name_of

_log = logging.getLogger("amltk_processes")

_short = reprlib.Repr()
_short.maxlevel, _short.maxstring, _short.maxother = 3, 60, 60


class Call(NamedTuple):
    """A call, pickled, and the future that waits for it.

    Attributes:
        future: Of the caller's.
        fn: What is called, with `args` and `kwargs`: here only to name it when it fails.
        args: See above.
        kwargs: See above.
        function: The function as it is sent.
        data: The rest of the call as it is sent.
        buffers: What is large of it, and sent apart.
    """

    future: Future[Any]
    fn: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    function: Function
    data: bytes
    buffers: Sequence[Memory]

    def is_large(self) -> bool:
        """Whether it is nothing to send ahead."""
        return bool(self.buffers) or len(self.data) > CHUNK

    def describe(self) -> str:
        """Return the call as text, for people: `train(3, lr=0.1)`, long values cut short."""
        try:
            by_name = (f"{name}={_short.repr(value)}" for name, value in self.kwargs.items())
            return f"{name_of(self.fn)}({', '.join([*map(_short.repr, self.args), *by_name])})"
        except Exception:  # an argument that can't even be shown
            return f"{name_of(self.fn)}(...)"

    def begin(self) -> bool:
        """Mark the future as running; False if nobody wants its result any more."""
        # One that was taken back from a worker is running already, for whoever asks it.
        with contextlib.suppress(RuntimeError):  # somebody else has settled it
            return self.future.running() or self.future.set_running_or_notify_cancel()
        return False

    def fail(self, error: BaseException) -> None:
        """Have the future raise `error`."""
        self._settle(self.future.set_exception, error)

    def succeed(self, result: object) -> None:
        """Have the future return `result`."""
        self._settle(self.future.set_result, result)

    def _settle(self, setter: Callable[[Any], None], outcome: object) -> None:
        try:
            setter(outcome)
        except BaseException:  # a callback of the user's that exits, or somebody else has settled it
            message = "A callback of a future failed, or the future was settled by somebody else: %r"
            _log.exception(message, self.future)
