"""How calls end: with the answer of their worker, or with the error of a worker that was lost or ended.

The initializer is a call without a caller. If it fails, the pool is broken.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Any

from amltk.describe import name_of
from amltk.exceptions import add_note
from amltk_processes._call import Call
from amltk_processes._errors import MakesError
from amltk_processes._frames import ERROR, Memory
from amltk_processes._pickling import loads


class Outcomes:
    """Ends calls. All methods are for the dispatcher's thread.

    Attributes:
        first_call: The first call of each worker, which runs the initializer; None if there is none.
        failure: The reason why the pool is broken; None while it works. Any thread may read it.
    """

    def __init__(self, first_call: Call | None) -> None:
        """Start with a pool that works."""
        self.first_call = first_call
        self.failure: BaseException | None = None

    def settle(self, call: Call, kind: int, data: memoryview, buffers: Sequence[Memory] | None) -> None:
        """End a call with the answer of its worker: a frame of kind RESULT or ERROR."""
        outcome: Any
        try:
            if buffers is None:
                msg = f"There is not enough memory in the main process for what {name_of(call.fn)} returned."
                raise MemoryError(msg)  # noqa: TRY301 - as if `loads` had raised it
            outcome = loads(data, buffers)
            if kind == ERROR:
                outcome = outcome.unpack(loads)
        except BaseException as error:
            with contextlib.suppress(BaseException):  # an exception class of the user's may raise anything
                add_note(error, f"Raised while what {name_of(call.fn)} returned was unpickled in the main process.")
            kind, outcome = ERROR, error
        if call is self.first_call:
            if kind == ERROR:
                self.failure = outcome
        elif kind == ERROR:
            call.fail(outcome)
        else:
            call.succeed(outcome)

    def fail(self, call: Call, make: MakesError, *args: Any, **more: Any) -> None:
        """End a call with the error that `make` returns; a failed initializer breaks the pool.

        The call ends in any case: if `make` raises, that exception is the call's error.
        """
        try:
            error = make(call, *args, **more)
        except BaseException as failure:
            error = failure
        if call is self.first_call:
            self.failure = error
        else:
            call.fail(error)
