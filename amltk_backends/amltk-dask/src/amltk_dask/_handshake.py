"""The handshake with each new worker: it reports its process and versions, and is added or refused.

add-worker ──> begin ──> the worker answers ──> versions match: add; they do not: refuse
^              │
└── 0.5 s ─────┘ no answer, and the scheduler still has it
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Container, Coroutine, Iterable
from typing import Any

from distributed import Client

from amltk_dask import _errors, _worker
from amltk_dask._versions import check_fit

REMOTE_SECONDS = 10.0
"""Seconds to wait for an answer of a scheduler or worker, except for results: it, or the network, may hang."""
_LOOK_AGAIN = 0.5


class Handshakes:
    """The handshakes of a cluster's workers; all methods run in the client's loop."""

    def __init__(
        self,
        client: Client,
        known: Container[str],
        *,
        spawn: Callable[[Coroutine[Any, Any, None]], object],
        add: Callable[[str, _worker.Greeting], object],
        refuse: Callable[[BaseException], object],
        done: Callable[[], object],
    ) -> None:
        """Start without handshakes.

        Args:
            client: The cluster's client.
            known: The addresses of the workers that were added.
            spawn: Runs a coroutine for as long as the executor exists.
            add: Takes the address and the answer of a worker whose versions match.
            refuse: Takes the error of a worker whose versions don't match.
            done: Called when workers have answered.
        """
        self._client = client
        self._known = known
        self._spawn = spawn
        self._add = add
        self._refuse = refuse
        self._done = done
        self._under_way: set[str] = set()

    def begin(self, addresses: Iterable[str]) -> None:
        """Start a handshake with each new worker."""
        new = [each for each in addresses if each not in self._under_way and each not in self._known]
        if new:
            self._under_way.update(new)
            self._spawn(self._ask(new))

    def forget(self, address: str) -> None:
        """Forget a worker that is gone."""
        self._under_way.discard(address)

    async def _ask(self, addresses: list[str]) -> None:
        try:
            greeted = self._client.run(_worker.handshake, workers=addresses, on_error="return")
            answers = await asyncio.wait_for(greeted, REMOTE_SECONDS)
        except (TimeoutError, OSError):
            answers = {}
        silent = []
        for address in addresses:
            if address not in self._under_way:  # it left in the meantime
                continue
            answer = answers.get(address)
            if answer is None or isinstance(answer, OSError):
                silent.append(address)
                continue
            self._under_way.discard(address)
            self._take(address, answer)
        self._done()
        if silent:
            self._spawn(self._ask_again(silent))

    def _take(self, address: str, answer: Any) -> None:
        if not isinstance(answer, BaseException):
            if len(answer) == len(_worker.Greeting._fields):
                answer = _worker.Greeting(*answer)
            else:
                answer = TypeError("it has another version of amltk-dask")
        misfit = check_fit(address, answer)
        if misfit is None:
            self._add(address, answer)
        else:
            self._refuse(misfit)

    async def _ask_again(self, addresses: list[str]) -> None:
        """Repeat the handshake with workers that still exist: on a busy machine a connection may fail."""
        await asyncio.sleep(_LOOK_AGAIN)
        try:
            there = await scheduler_addresses(self._client)
        except OSError:  # another task watches for a lost scheduler
            self._spawn(self._ask_again(addresses))
            return
        asked = [each for each in addresses if each in self._under_way]
        self._under_way.difference_update(asked)
        for each in asked:  # one handshake each, so that one that hangs does not hold up the others
            if each in there:
                self.begin([each])


async def scheduler_addresses(client: Client) -> Collection[str]:
    """Return the addresses of the scheduler's workers.

    Raises:
        OSError: The scheduler does not answer.
    """
    try:
        found: dict[str, int] = await asyncio.wait_for(client.scheduler.ncores(), REMOTE_SECONDS)
    except TimeoutError:
        raise _errors.no_answer(client.scheduler.address, REMOTE_SECONDS) from None
    return found
