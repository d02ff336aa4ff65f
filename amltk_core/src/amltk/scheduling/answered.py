"""A call that a plugin answers: it ends without a worker, in a later turn of the loop."""

from __future__ import annotations

import asyncio
from concurrent.futures import Future
from typing import Any

from amltk.scheduling.call_plugin import Answer


class AnsweredSource(Future[Any]):
    """Replaces the executor's future. It can be cancelled until the loop's next turn."""

    def __init__(self, answer: Answer, loop: asyncio.AbstractEventLoop) -> None:
        """End with `answer` in the next turn of `loop`."""
        super().__init__()
        loop.call_soon(self._end, answer)

    def _end(self, answer: Answer) -> None:
        if not self.set_running_or_notify_cancel():
            return
        if answer.exception is not None:
            self.set_exception(answer.exception)
        else:
            self.set_result(answer.value)
