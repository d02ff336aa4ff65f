"""An executor around a client of dask."""

from __future__ import annotations

import asyncio
import collections
import contextlib
import functools
import threading
from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import Any

import dask
from distributed import Client

from amltk.remote.executor import RemoteExecutor
from amltk.remote.worker_errors import WorkerExit, call_killed
from amltk_dask import _errors, _heartbeat, _worker
from amltk_dask._call import Call
from amltk_dask._errors import Worker
from amltk_dask._handshake import Handshakes, scheduler_addresses
from amltk_dask._versions import what_to_install
from amltk_dask.tls_errors import isolate_tls_errors

__all__ = ["DaskExecutor", "Worker", "what_to_install"]

_LARGE = 1 << 20
_QUIET = {"distributed.admin.large-graph-warning-threshold": "1 TB"}

isolate_tls_errors()  # here, as every module that opens a cluster imports this one first


class DaskExecutor(RemoteExecutor[Call]):
    """Runs calls in the workers of a cluster of dask.

    Calls wait here. When a worker has a free thread for a call, dask gets the call, for that worker
    alone. So dask never repeats a call whose worker died, and a dead worker affects only the calls
    that it ran.
    """

    def __init__(
        self,
        client: Client,
        *,
        close: Callable[[], object],
        kill: Callable[[], Collection[Worker]] = tuple,
        allowed_failures: int = 0,
        heartbeat_timeout: float | None = None,
        exit_info: Callable[[Worker], Awaitable[WorkerExit]] | None = None,
        exit_info_seconds: float = 3.0,
        lose: Callable[[Worker], object] | None = None,
    ) -> None:
        """Give calls to the workers that exist, and to those that connect later.

        Args:
            client: The cluster's client. It must be this executor's own: it listens to events of the scheduler.
            close: Releases client and cluster when no call is left; runs in a thread of its own and returns when all
                is gone.
            kill: Ends the workers that run calls, children of calls included. Returns when they are gone, with those
                that it could not end.
            allowed_failures: How often to run a call again whose worker died.
            heartbeat_timeout: Seconds without a sign of life from its worker before a call fails with `WorkerLost`.
                None: no limit.
            exit_info: Returns how a worker ended, as soon as that is known.
            exit_info_seconds: How many seconds a call waits for that.
            lose: Ends a worker without a sign of life.
        """
        super().__init__(Call)
        self._client = client
        self._close_all = close
        self._kill = kill
        self._allowed_failures = allowed_failures
        self._heartbeat_timeout = heartbeat_timeout
        self._exit_info = exit_info
        self._exit_info_seconds = exit_info_seconds
        self._lose = lose
        self._left = 0
        self._killed = self._killing = False
        self._closing = False
        self._stays = self._given_up = False
        self._closer: threading.Thread | None = None
        self._woken = False
        # Only the client's loop uses the attributes below.
        self._workers: dict[str, Worker] = {}
        self._free: collections.deque[Worker] = collections.deque()
        self._running: dict[Worker, dict[Call, asyncio.Task[None]]] = {}
        self._tasks: set[asyncio.Task[Any]] = set()
        self._loop: asyncio.AbstractEventLoop = client.loop.asyncio_loop
        self._handshakes = Handshakes(
            client, self._workers, spawn=self._spawn, add=self._add_worker, refuse=self._fail, done=self._dispatch
        )
        asyncio.run_coroutine_threadsafe(self._begin(), self._loop).result()

    # For the owner, in any thread

    @property
    def calls_left(self) -> int:
        """The number of calls that wait or run."""
        return self._left

    @property
    def workers(self) -> Mapping[str, Worker]:
        """The connected workers, by address."""
        return dict(self._workers)

    @property
    def busy(self) -> list[Worker]:
        """The workers that run calls."""
        return [worker for worker, calls in list(self._running.items()) if calls]

    def release(self, address: str) -> bool:
        """Give a worker no more calls, if it runs none; call this in the client's loop.

        Returns:
            Whether the worker is released.
        """
        worker = self._workers.get(address)
        if worker is not None:
            if self._running.get(worker):
                return False
            self._running.pop(worker, None)
            del self._workers[address]
        return True

    def check(self) -> None:
        """Raise the error that keeps calls from running, if there is one.

        Raises:
            NotSupportedError: A worker has other versions than this process.
            Exception: The error of `fail_pending`.
        """
        if self._failure is not None:
            raise self._failure

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Accept no more calls, and release everything when the calls have ended.

        Args:
            wait: Return only when nothing is left.
            cancel_futures: Cancel the calls that have not begun; running calls go on.
        """
        self._stop_accepting(cancel_futures=cancel_futures)
        with self._changed:
            if self._closer is None:
                self._closer = threading.Thread(target=self._close, name="amltk-dask: closes the executor")
                self._closer.start()
            self._given_up = self._stays
            self._changed.notify_all()
        if wait:
            self._closer.join()

    def kill_workers(self) -> None:
        """End everything now, and return when it is gone.

        Calls that have not begun are cancelled, running ones fail with `WorkerDied`, and the executor is shut down.
        If a worker can't be ended, its calls go on until `shutdown()` is called again.
        """
        with self._changed:
            self._killed = self._killing = True
        self.shutdown(wait=False, cancel_futures=True)
        stay: Collection[Worker] = ()
        if not self._closing:
            stay = self._kill()
            asyncio.run_coroutine_threadsafe(self._end_running(stay), self._loop).result()
        with self._changed:
            self._stays, self._killing = bool(stay), False
            self._changed.notify_all()
        if not stay:
            self.shutdown()

    def fail_pending(self, error: BaseException) -> None:
        """Fail every call that has not ended with `error`, and all later submissions; works in any thread."""
        with contextlib.suppress(RuntimeError):  # the loop is closed, and no call is left
            self._loop.call_soon_threadsafe(self._fail, error)

    def _enqueue(self, call: Call) -> None:
        super()._enqueue(call)
        self._left += 1
        call.future.add_done_callback(self._one_less)

    def _request_dispatch(self) -> None:
        if not self._woken:
            self._woken = True  # `_dispatch` resets it before it reads the queue
            self._loop.call_soon_threadsafe(self._dispatch)

    def _one_less(self, _: object) -> None:
        with self._changed:
            self._left -= 1
            self._changed.notify_all()

    def _close(self) -> None:
        with self._changed:
            self._changed.wait_for(lambda: (not self._left or self._given_up) and not self._killing)
            self._closing = True
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result()
        self._close_all()

    # In the client's loop

    async def _begin(self) -> None:
        self._client.subscribe_topic("all", self._on_event)
        self._handshakes.begin(await scheduler_addresses(self._client))
        await asyncio.gather(*self._tasks)
        self._spawn(_heartbeat.watch_connection(self._client, self._fail))
        if (seconds := self._heartbeat_timeout) is not None:
            lose_worker = functools.partial(self._lose_worker, seconds=seconds)
            lose_scheduler = functools.partial(self._lose_scheduler, seconds)
            self._spawn(_heartbeat.watch_workers(self._client, seconds, self._workers, lose_worker, lose_scheduler))

    async def _end(self) -> None:
        await self._end_running(())
        self._client.unsubscribe_topic("all")
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _spawn(self, work: Any) -> asyncio.Task[Any]:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def _on_event(self, event: tuple[float, Any]) -> None:
        _, message = event
        match message:
            case {"action": "add-worker", "worker": address}:
                self._handshakes.begin([address])
            case {"action": "remove-worker", "worker": address}:
                self._forget(address)

    def _add_worker(self, address: str, greeting: _worker.Greeting) -> None:
        worker = Worker(address, greeting.pid, greeting.host, greeting.nthreads, greeting.nanny)
        self._workers[address] = worker
        self._running[worker] = {}
        self._free.extend([worker] * worker.nthreads)

    def _forget(self, address: str) -> None:
        """Remove a worker that is gone, and start to end its calls."""
        self._handshakes.forget(address)
        worker = self._workers.pop(address, None)
        if worker is not None:
            calls = self._take_from(worker)
            if calls:
                self._spawn(self._on_worker_exit(worker, calls))

    def _take_from(self, worker: Worker) -> list[Call]:
        running = self._running.pop(worker, {})  # an absent worker was killed before
        for task in running.values():
            task.cancel()
        return list(running)

    async def _on_worker_exit(self, worker: Worker, calls: list[Call]) -> None:
        ended = WorkerExit()
        if self._exit_info is not None and not self._killed:
            with contextlib.suppress(asyncio.TimeoutError):
                ended = await asyncio.wait_for(self._exit_info(worker), self._exit_info_seconds)
        for call in calls:
            self._died(call, functools.partial(_errors.died, call, worker, ended))

    def _died(self, call: Call, error: Callable[[], BaseException]) -> None:
        call.deaths += 1
        if self._killed:
            call.fail(call_killed(call))
        elif self._failure is not None:
            call.fail(self._broken(self._failure))
        elif call.deaths <= self._allowed_failures:
            with self._changed:
                self._waiting.appendleft(call)
            self._dispatch()
        else:
            call.fail(error())

    def _dispatch(self) -> None:
        self._woken = False
        while self._free:
            worker = self._free.popleft()
            if worker not in self._running:  # it is gone
                continue
            call = self._take()
            if call is None:
                self._free.appendleft(worker)
                return
            self._running[worker][call] = self._spawn(self._run(call, worker))

    async def _run(self, call: Call, worker: Worker) -> None:
        quiet = dask.config.set(_QUIET) if len(call.data) > _LARGE else contextlib.nullcontext()
        key = f"amltk-{call.token}-{call.deaths}"
        # The worker has a free thread for it, so it begins on arrival.
        call.started(host=worker.host, pid=worker.pid, worker=worker.address)
        with quiet:
            future = self._client.submit(
                _worker.run, call.data, call.token, worker.pid, worker.host,
                key=key, workers=[worker.address], allow_other_workers=False, pure=False, retries=0,
            )  # fmt: skip
        try:
            outcome = await future.result()
        except asyncio.CancelledError as error:
            if call not in self._running.get(worker, ()):  # this executor has cancelled it
                raise
            outcome = RuntimeError(f"it was cancelled: {error}")  # by another client, or the connection is lost
        except Exception as error:  # dask's own error
            outcome = error
        finally:
            future.release()
        self._running[worker].pop(call)
        self._free.append(worker)
        self._dispatch()
        if isinstance(outcome, Exception):
            self._died(call, functools.partial(_errors.given_up, call, worker, outcome))
        elif len(outcome) < _LARGE:
            self._settle(call, worker, outcome)
        else:  # this takes a while, and must not hold up the loop
            threading.Thread(target=self._settle, args=(call, worker, outcome), name="amltk-dask: unpickles").start()

    def _settle(self, call: Call, worker: Worker, outcome: bytes) -> None:
        if outcome != _worker.REFUSED:
            call.settle(outcome)
        else:
            why = "that process is gone, or has begun the call before"
            error_of = functools.partial(_errors.given_up, call, worker, why)
            self._loop.call_soon_threadsafe(self._died, call, error_of)

    async def _end_running(self, stay: Collection[Worker]) -> None:
        for worker in [each for each in self._running if each not in stay]:
            for call in self._take_from(worker):
                call.fail(call_killed(call))

    def _fail(self, error: BaseException) -> None:
        begun: list[Call] = []
        for worker in list(self._running):
            begun += self._take_from(worker)
            self._workers.pop(worker.address, None)
        self._break(error, *begun)

    def _lose_worker(self, worker: Worker, seconds: float) -> None:
        del self._workers[worker.address]
        for call in self._take_from(worker):
            self._died(call, functools.partial(_errors.lost, call, worker, seconds))
        if self._lose is not None:
            self._lose(worker)

    def _lose_scheduler(self, seconds: float) -> None:
        where = self._client.scheduler.address
        for worker in list(self._running):
            for call in self._take_from(worker):
                call.fail(_errors.lost_with_scheduler(call, worker, where, seconds))
        self._fail(_errors.no_answer(where, seconds))
