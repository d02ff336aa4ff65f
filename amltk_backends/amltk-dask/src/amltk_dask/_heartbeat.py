"""Watches for signs of life: of the connection to the scheduler, of the scheduler, and of the workers."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Mapping
from typing import Any

from distributed import Client

from amltk_dask._errors import Worker

_LOOK_AGAIN = 0.5


async def watch_connection(client: Client, fail: Callable[[BaseException], object]) -> None:
    """Call `fail` with an error when the connection to the scheduler is lost."""
    while client.status == "running":  # noqa: ASYNC110 - dask has no event for it
        await asyncio.sleep(_LOOK_AGAIN)
    where = client.scheduler.address
    fail(ConnectionError(f"The connection to dask's scheduler, {where}, is lost; its calls can't come back."))


async def watch_workers(
    client: Client,
    seconds: float,
    workers: Mapping[str, Worker],
    lose_worker: Callable[[Worker], object],
    lose_scheduler: Callable[[], object],
) -> None:
    """Look for signs of life; by our own clock, for those of other machines may be wrong.

    Args:
        client: Of the cluster.
        seconds: How long one may be without a sign of life.
        workers: Those that are there, by address.
        lose_worker: Takes a worker that gives no sign of life out of `workers`.
        lose_scheduler: Called when the scheduler gives none, which ends this.
    """
    signs: dict[str, tuple[float, float]] = {}
    while True:
        await asyncio.sleep(seconds / 8)
        identity = await _identity(client, seconds)
        if identity is None:
            lose_scheduler()
            return
        now = time.monotonic()
        for address, worker in list(workers.items()):
            said = identity["workers"].get(address, {}).get("last_seen", 0.0)
            if address not in signs or signs[address][0] != said:
                signs[address] = said, now
            elif now - signs[address][1] > seconds:
                lose_worker(worker)
        signs = {address: sign for address, sign in signs.items() if address in workers}


async def _identity(client: Client, seconds: float) -> Any:
    """Return what the scheduler says of itself and its workers; None if it says nothing in time."""
    for _ in range(2):  # what was late is this process if the second answer comes
        with contextlib.suppress(asyncio.TimeoutError, OSError):
            return await asyncio.wait_for(client.scheduler.identity(), seconds / 2)
    return None
