"""Holds ended calls back until `before_delivery` of plugins has finished, and keeps the order in which they ended.

    a call has ended ──> hold: before_delivery of its plugins, which may await
                           └── ready, and the first of those held ──inbox──> take: its events are emitted

A held call stays in `waiting`, so the run does not end before its events. A run whose plugins have no
`before_delivery` has no object of this class.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from concurrent.futures import Future
from time import monotonic
from typing import TYPE_CHECKING, Any

from amltk.describe import describe_value
from amltk.events import handler as _handler
from amltk.scheduling.call_plugin import Answer, CallPlugin, hears_of_ends
from amltk.user_code import calls_user_code

if TYPE_CHECKING:
    from amltk.scheduling.call_future import CallFuture
    from amltk.scheduling.run_calls import RunCalls

logger = logging.getLogger("amltk")


class _Held:
    """An ended call whose events have not been emitted."""

    __slots__ = ("future", "is_ready", "tell", "told", "work")

    def __init__(self, future: CallFuture[Any], tell: Callable[..., None], told: tuple[Any, ...]) -> None:
        self.future = future
        self.tell = tell
        self.told = told
        self.is_ready = False
        self.work: asyncio.Task[None] | None = None


class Deliveries:
    """The ended calls of a run that are held back."""

    def __init__(self, run: RunCalls) -> None:
        """Hold back ended calls of `run`."""
        self._run = run
        self._held: dict[Future[Any], _Held] = {}
        self._order: deque[_Held] = deque()  # in which they ended; finding a dictionary's first key is slow
        self._due: CallFuture[Any] | None = None
        self._given_up = False

    def take(self, source: Future[Any]) -> CallFuture[Any] | None:
        """Return the call whose future has just ended; None for a held call, which is delivered in its turn."""
        held = self._held.get(source)
        if held is None:
            return self._run.waiting.get(source)
        if held.is_ready and held is self._order[0]:
            self._tell(self._order.popleft())
            self._release()
        return None

    def hold(self, future: CallFuture[Any], tell: Callable[..., None], *told: Any, outcome: Answer | None) -> bool:
        """Hold a call back if a plugin or an earlier call requires it; `tell` delivers it with `told` later.

        Returns:
            Whether it is held back; otherwise the caller delivers it now, and it is no longer in `waiting`.
        """
        if future is self._due:
            return False
        plugins = [] if outcome is None else self._plugins_of(future)
        source = future.source
        if not plugins and not self._held:
            self._run.waiting.pop(source, None)
            return False
        held = self._held[source] = _Held(future, tell, told)
        self._order.append(held)
        self._ask(held, plugins, outcome)
        return True

    async def finish(self, seconds: float) -> None:
        """Wait for plugins for some seconds, then cancel what they have not finished."""
        loop = asyncio.get_running_loop()
        until = loop.time() + seconds
        while (works := self._works()) and (left := until - loop.time()) > 0:
            await asyncio.wait(works, timeout=left)
        for work in works:
            work.cancel()
        if works:
            names = ", ".join(sorted({held.future.describe() for held in self._held.values() if held.work in works}))
            logger.warning(
                "The run ends before before_delivery of a plugin has, within %g s, for %d call(s), which are told as "
                "cancelled: %s.",
                seconds, len(works), names,
            )  # fmt: skip
            await asyncio.wait(works, timeout=seconds)

    def give_up(self) -> None:
        """Deliver all held calls; those whose plugins have not finished as cancelled."""
        self._given_up = True
        while self._order:
            held = self._order.popleft()
            if not held.is_ready:
                held.tell, held.told = self._run.tell_cancelled, ()
                if held.work is not None:
                    held.work.cancel()
            self._tell(held)

    def _works(self) -> list[asyncio.Task[None]]:
        return [held.work for held in self._held.values() if held.work is not None and not held.work.done()]

    def _tell(self, held: _Held) -> None:
        source = held.future.source
        del self._held[source]
        self._run.waiting.pop(source, None)
        self._due = held.future
        try:
            held.tell(held.future, *held.told)
        finally:
            self._due = None

    def _release(self) -> None:
        """Deliver the first call, if it is ready, through the inbox, which leaves the loop time for other work."""
        if self._order and self._order[0].is_ready:
            self._run.inbox.arrived(self._order[0].future.source)

    def _plugins_of(self, future: CallFuture[Any]) -> list[CallPlugin]:
        plugins = [*self._run.scheduler.plugins, *(() if future.task is None else future.task.plugins)]
        return [plugin for plugin in plugins if hears_of_ends(plugin)]

    @calls_user_code
    def _ask(self, held: _Held, plugins: Sequence[CallPlugin], outcome: Answer | None) -> None:
        """Call `before_delivery` of the plugins, one after the other; the call is ready after the last one."""
        for number, plugin in enumerate(plugins):
            begun = monotonic()
            try:
                assert outcome is not None
                returned = plugin.before_delivery(held.future, outcome)
                if returned is not None:
                    self._begin(held, plugin, _awaitable(plugin, returned), plugins[number + 1 :], outcome)
                    return
            except BaseException as error:
                self._failed(plugin, error)
            if (seconds := monotonic() - begun) > _handler.BLOCKING_SECONDS:
                logger.warning(
                    "before_delivery of %s took %.1f s. While it runs, no callback is called and no result delivered: "
                    "make it 'async def' and await what takes long, by asyncio.to_thread, say.",
                    type(plugin).__name__, seconds,
                )  # fmt: skip
        held.is_ready = True
        if self._order and held is self._order[0]:
            self._release()

    def _begin(
        self,
        held: _Held,
        plugin: CallPlugin,
        returned: Awaitable[None],
        rest: Sequence[CallPlugin],
        outcome: Answer,
    ) -> None:
        held.work = asyncio.get_running_loop().create_task(
            self._await(held, plugin, returned, rest, outcome), name=f"before_delivery of {type(plugin).__name__}"
        )
        if isinstance(returned, Coroutine):  # cancelled before its first step, it would warn
            held.work.add_done_callback(lambda _: returned.close())

    @calls_user_code
    async def _await(
        self,
        held: _Held,
        plugin: CallPlugin,
        returned: Awaitable[None],
        rest: Sequence[CallPlugin],
        outcome: Answer,
    ) -> None:
        try:
            await returned
        except BaseException as error:
            if isinstance(error, asyncio.CancelledError) and asyncio.current_task().cancelling():  # type: ignore[union-attr] # we are in it
                raise
            self._failed(plugin, error)
        if not self._given_up:  # else the run has ended, and the call was delivered
            self._ask(held, rest, outcome)

    def _failed(self, plugin: CallPlugin, error: BaseException) -> None:
        self._run.callbacks.failed(f"The method before_delivery of {type(plugin).__name__}", error)


def _awaitable(plugin: CallPlugin, returned: Any) -> Awaitable[None]:
    if not hasattr(type(returned), "__await__"):
        msg = (
            f"before_delivery of {type(plugin).__name__} must return None, or be 'async def', got "
            f"{describe_value(returned)}: it can't change how the call has ended."
        )
        raise TypeError(msg)
    return returned  # type: ignore[no-any-return] # checked above
