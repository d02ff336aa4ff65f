"""Watches the connection to the scheduler, and the heartbeats of the scheduler and the workers."""

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
    """Watch for signs of life; it uses this machine's clock, as those of other machines may be wrong.

    Args:
        client: The cluster's client.
        seconds: The longest time without a sign of life.
        workers: The workers, by address.
        lose_worker: Takes a worker without a sign of life; removes it from `workers`.
        lose_scheduler: Called when the scheduler shows no sign of life; the function then returns.
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
            last_seen = identity["workers"].get(address, {}).get("last_seen", 0.0)
            if address not in signs or signs[address][0] != last_seen:
                signs[address] = last_seen, now
            elif now - signs[address][1] > seconds:
                lose_worker(worker)
        signs = {address: sign for address, sign in signs.items() if address in workers}


async def _identity(client: Client, seconds: float) -> Any:
    """Return the scheduler's description of itself and its workers; None if it does not answer in time."""
    for _ in range(2):  # if the second answer comes, this process was late, not the scheduler
        with contextlib.suppress(asyncio.TimeoutError, OSError):
            return await asyncio.wait_for(client.scheduler.identity(), seconds / 2)
    return None
