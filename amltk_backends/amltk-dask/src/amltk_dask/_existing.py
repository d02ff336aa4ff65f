"""Runs calls in a cluster that exists already, and leaves it as it was."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import threading
from typing import Any

import dask
from dask.utils import parse_timedelta
from distributed import Client, Security

from amltk_dask import _worker
from amltk_dask._errors import Worker, no_answer
from amltk_dask._handshake import REMOTE_SECONDS
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
    """Return an executor for an existing cluster; it connects with a client of its own.

    Args:
        address: The scheduler's address.
        client: A client that is connected to the scheduler, instead.
        allowed_failures: As for `DaskExecutor`.
        heartbeat_timeout: As for `DaskExecutor`.
        security: The security of the scheduler at `address`; by default that of dask's configuration.

    Raises:
        OSError: The scheduler can't be reached.
        NotSupportedError: Its workers have other versions than this process.
    """
    options: dict[str, Any] = {"address": address, "security": security}
    if client is not None:
        options = {"address": client.scheduler.address, "security": client.security}
    own = Client.__new__(Client)
    limit = parse_timedelta(dask.config.get("distributed.comm.timeouts.connect")) + REMOTE_SECONDS
    timer = threading.Timer(limit, _give_up, [own])
    timer.daemon = True
    timer.start()
    try:
        own.__init__(**options, set_as_default=False)
    except (Exception, asyncio.CancelledError) as error:
        _stop(own)  # `close()` would leave its thread
        if timer.finished.is_set():
            raise no_answer(options["address"], limit) from None
        if isinstance(error, OSError):
            error.add_note(f"with_dask found no scheduler at {options['address']}; is the cluster running?")
        raise
    finally:
        timer.cancel()
        timer.join()
    with contextlib.ExitStack() as opened:
        close = functools.partial(_close, own)
        opened.callback(close)
        executor = DaskExecutor(
            own,
            close=close,
            kill=lambda: _kill(own, executor),
            allowed_failures=allowed_failures,
            heartbeat_timeout=heartbeat_timeout,
            lose=lambda worker: own.loop.add_callback(_kill_worker, own, worker),
        )
        executor.check()
        opened.pop_all()
    return executor


def _give_up(client: Client) -> None:
    """Cancel the connection attempt of a client: dask would wait forever for a scheduler that accepts and hangs."""

    def cancel() -> None:
        for task in asyncio.all_tasks():
            if "amain" not in str(task.get_coro()):  # the task of the loop itself
                task.cancel()

    client.loop.add_callback(cancel)


def _close(client: Client) -> None:
    """Close our client, even if the scheduler does not answer."""
    try:
        client.close(timeout=REMOTE_SECONDS)
    except TimeoutError:
        client.loop.add_callback(client.scheduler_comm.abort)
        _stop(client)


def _stop(client: Client) -> None:
    """Stop the loop of a client that can't be closed."""
    client._loop_runner.stop()
    client.status = "closed"  # otherwise the garbage collector closes it again, in a loop that has ended


def _kill(client: Client, executor: DaskExecutor) -> list[Worker]:
    """End busy workers that have a nanny, which starts new ones, and run only our calls; return the others."""
    busy = executor.busy
    try:
        return list(client.sync(_kill_those, client, busy, callback_timeout=REMOTE_SECONDS)) if busy else []
    except (TimeoutError, OSError):
        _log.warning(
            "Workers of dask's scheduler %s are not ended: it has not answered for %g s.",
            client.scheduler.address,
            REMOTE_SECONDS,
        )
        return busy


async def _kill_those(client: Client, busy: list[Worker]) -> list[Worker]:
    stay, ending = [], []
    processing = await client.scheduler.processing(workers=[each.address for each in busy])
    for worker in busy:
        others = [key for key in processing.get(worker.address, ()) if not str(key).startswith("amltk-")]
        if worker.nanny and not others:
            ending.append(_kill_worker(client, worker))
        else:
            why = "calls of others run in it" if worker.nanny else "it has no nanny"
            _log.warning("The worker %s, %s, is not ended: %s.", worker.address, worker, why)
            stay.append(worker)
    await asyncio.gather(*ending)
    return stay


async def _kill_worker(client: Client, worker: Worker) -> None:
    if worker.nanny:
        await client.run(_worker.kill, worker.pid, workers=[worker.address], nanny=True, on_error="ignore")
