"""A cluster that is there: calls run in it, and it stays as it was."""

from __future__ import annotations

import contextlib
import logging
from typing import Any

from distributed import Client, Security

from amltk_dask import _worker
from amltk_dask._errors import Worker
from amltk_dask.executor import DaskExecutor

_log = logging.getLogger("amltk_dask")


def open_existing(
    address: str | None,
    client: Client | None,
    *,
    allowed_failures: int,
    heartbeat_timeout: float | None,
    security: Security | None = None,
) -> DaskExecutor:
    """Return an executor for a cluster, by a client of its own.

    Args:
        address: Of the scheduler.
        client: One that is connected to it, instead.
        allowed_failures: As for `DaskExecutor`.
        heartbeat_timeout: As for `DaskExecutor`.
        security: With which the scheduler at `address` is reached; by default as dask's configuration says.

    Raises:
        OSError: There is no scheduler.
        NotSupportedError: Its workers have other versions than this process.
    """
    options: dict[str, Any] = {"address": address, "security": security}
    if client is not None:
        options = {"address": client.scheduler.address, "security": client.security}
    own = Client.__new__(Client)
    try:
        own.__init__(**options, set_as_default=False)
    except OSError as error:
        own._loop_runner.stop()  # `close()` leaves its thread
        error.add_note(f"with_dask found no scheduler at {options['address']}; is the cluster running?")
        raise
    with contextlib.ExitStack() as opened:
        opened.callback(own.close)
        executor = DaskExecutor(
            own,
            close=own.close,
            kill=lambda: _kill(own, executor),
            allowed_failures=allowed_failures,
            heartbeat_timeout=heartbeat_timeout,
            lose=lambda worker: own.loop.add_callback(_kill_worker, own, worker),
        )
        executor.check()
        opened.pop_all()
    return executor


def _kill(client: Client, executor: DaskExecutor) -> list[Worker]:
    """End the workers that run calls of ours alone, and have a nanny, which starts new ones; return the others."""
    stay = []
    busy = executor.busy
    processing = client.processing(workers=[each.address for each in busy]) if busy else {}
    for worker in busy:
        others = [key for key in processing.get(worker.address, ()) if not str(key).startswith("amltk-")]
        if worker.nanny and not others:
            client.sync(_kill_worker, client, worker)
        else:
            why = "calls of others run in it" if worker.nanny else "it has no nanny"
            _log.warning("The worker %s, %s, is not ended: %s.", worker.address, worker, why)
            stay.append(worker)
    return stay


async def _kill_worker(client: Client, worker: Worker) -> None:
    if worker.nanny:
        await client.run(_worker.kill, worker.pid, workers=[worker.address], nanny=True, on_error="ignore")
