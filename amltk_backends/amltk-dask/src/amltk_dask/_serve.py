"""The worker process of a local cluster: `distributed.Worker`, and its surroundings."""

from __future__ import annotations

import asyncio
import faulthandler
import logging
import os
import queue
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import Any

import dask
from distributed import Worker

from amltk_dask._guard_messages import END_OF_REASON, GRACE
from amltk_dask.tls_errors import isolate_tls_errors


def serve(options: dict[str, Any], asked: int, notes: int, connected: Callable[[], object]) -> None:
    """Run a worker until it is asked to end.

    Args:
        options: `config` of dask; `log_level` of its loggers; all others go to `distributed.Worker`.
        asked: A pipe; when it closes, the worker ends.
        notes: Takes faulthandler's output, and the reason if the worker kills itself.
        connected: Called when the scheduler has added the worker.
    """
    isolate_tls_errors()
    os.set_inheritable(notes, False)
    os.set_inheritable(asked, False)
    faulthandler.enable(notes)
    dask.config.update(dask.config.global_config, options.pop("config"))
    logging.getLogger("distributed").setLevel(options.pop("log_level"))
    calls = _MainThread()
    if options["nthreads"] == 1:
        options["executor"] = calls
    failure: list[BaseException] = []

    def work() -> None:
        try:
            asyncio.run(_serve(options, asked, notes, connected))
        except BaseException as error:
            failure.append(error)
        calls.shutdown()
        time.sleep(GRACE)
        os._exit(1)  # a call still runs, and its result is no longer needed

    threading.Thread(target=work, name="amltk-dask: the worker's loop", daemon=True).start()
    calls.serve()
    if failure:
        raise failure[0]


class _MainThread(Executor):
    """Runs calls in the main thread, where they can, for example, handle signals."""

    def __init__(self) -> None:
        self._queue: queue.SimpleQueue[tuple[Future[Any], Callable[..., Any], Any, Any] | None] = queue.SimpleQueue()

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        self._queue.put((future, fn, args, kwargs))
        return future

    def serve(self) -> None:
        """Run submitted calls until `shutdown`."""
        while (item := self._queue.get()) is not None:
            future, fn, args, kwargs = item
            if future.set_running_or_notify_cancel():
                try:
                    future.set_result(fn(*args, **kwargs))
                except BaseException as error:
                    future.set_exception(error)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: ARG002 - as in Executor
        self._queue.put(None)


async def _serve(options: dict[str, Any], asked: int, notes: int, connected: Callable[[], object]) -> None:
    worker = Worker(**options)
    loop = asyncio.get_running_loop()
    ends = loop.create_future()

    def end() -> None:
        loop.remove_reader(asked)
        ends.set_result(None)

    loop.add_reader(asked, end)
    async with worker:
        connected()
        finished = loop.create_task(worker.finished())
        watch = loop.create_task(_limit_memory(worker, notes))
        await asyncio.wait([finished, ends], return_when=asyncio.FIRST_COMPLETED)
        watch.cancel()
        if not finished.done():
            await worker.close(timeout=1, executor_wait=False, nanny=False, reason="amltk-dask: the cluster is closed")


async def _limit_memory(worker: Worker, notes: int) -> None:
    """Enforce the memory limit, as a nanny does for its worker."""
    limit, share = worker.memory_manager.memory_limit, dask.config.get("distributed.worker.memory.terminate")
    if not limit or not share:
        return
    while True:
        await asyncio.sleep(0.1)
        used = worker.monitor.get_process_memory()
        if used > share * limit:
            most = f"{share:.0%} of memory_limit, {int(limit) >> 20} MB"
            text = f"It used {used >> 20} MB, more than {most}, and was ended."
            os.write(notes, text.encode() + END_OF_REASON.encode())
            os.kill(os.getpid(), signal.SIGKILL)
