"""The handshake with each worker that comes: what it is, and whether its versions fit.

add-worker ──> begin ──> the worker answers ──> it fits: add; it does not: refuse
^              │
└── 0.5 s ─────┘ it does not answer, and is still there
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Container, Coroutine, Iterable
from typing import Any

from distributed import Client

from amltk_dask import _errors, _worker
from amltk_dask._versions import check_fit

REMOTE_SECONDS = 10.0
"""How long an answer of a scheduler or a worker is waited for, but for results: they may hang, or the network."""
_LOOK_AGAIN = 0.5


class Handshakes:
    """The handshakes of a cluster's workers; everything in here happens in the loop of the client."""

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
        """Begin with none.

        Args:
            client: Of the cluster.
            known: The addresses of the workers that were added.
            spawn: Runs a coroutine for as long as the executor is there.
            add: Takes the address of a worker that fits, and what it says of itself.
            refuse: Takes the error of a worker that does not fit.
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
        """Ask the workers that are new what they are."""
        new = [each for each in addresses if each not in self._under_way and each not in self._known]
        if new:
            self._under_way.update(new)
            self._spawn(self._ask(new))

    def forget(self, address: str) -> None:
        """Note that a worker is gone."""
        self._under_way.discard(address)

    async def _ask(self, addresses: list[str]) -> None:
        try:
            greeted = self._client.run(_worker.greet, workers=addresses, on_error="return")
            answers = await asyncio.wait_for(greeted, REMOTE_SECONDS)
        except (TimeoutError, OSError):
            answers = {}
        silent = []
        for address in addresses:
            if address not in self._under_way:  # it went meanwhile
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
        """Ask workers again that did not answer, unless they are gone: on a busy machine a connection may fail."""
        await asyncio.sleep(_LOOK_AGAIN)
        try:
            there = await scheduler_addresses(self._client)
        except OSError:  # whether the scheduler is lost, others watch
            self._spawn(self._ask_again(addresses))
            return
        asked = [each for each in addresses if each in self._under_way]
        self._under_way.difference_update(asked)
        for each in asked:  # one that hangs does not hold up the others
            if each in there:
                self.begin([each])


async def scheduler_addresses(client: Client) -> Collection[str]:
    """Return the addresses of the workers that the scheduler has.

    Raises:
        OSError: It does not answer.
    """
    try:
        found: dict[str, int] = await asyncio.wait_for(client.scheduler.ncores(), REMOTE_SECONDS)
    except TimeoutError:
        raise _errors.no_answer(client.scheduler.address, REMOTE_SECONDS) from None
    return found
