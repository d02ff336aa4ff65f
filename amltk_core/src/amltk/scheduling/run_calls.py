"""The part of a run that retries, deliveries and maps use, as a Protocol: `PendingCalls` imports them in turn."""

from __future__ import annotations

from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from amltk.scheduling.call_future import CallFuture
    from amltk.scheduling.callbacks import Callbacks
    from amltk.scheduling.inbox import Inbox
    from amltk.scheduling.scheduler import Scheduler


class RunCalls(Protocol):
    """The calls of a run; see `PendingCalls`."""

    scheduler: Scheduler
    callbacks: Callbacks
    inbox: Inbox
    waiting: dict[Future[Any], CallFuture[Any]]
    accepting: bool

    def send_again(self, future: CallFuture[Any]) -> None:
        """Submit a call that was accepted before to the executor again."""

    def tell_cancelled(self, future: CallFuture[Any]) -> None:
        """End a call that was cancelled, with its events."""
