"""An executor around a client of dask."""

from __future__ import annotations

import asyncio
import collections
import contextlib
import functools
import logging
import threading
import time
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from typing import Any

import dask
from distributed import Client

from amltk.remote.executor import RemoteExecutor
from amltk.remote.worker_errors import WorkerExit, call_killed
from amltk_dask import _errors, _worker
from amltk_dask._call import Call
from amltk_dask._errors import Worker
from amltk_dask._versions import check_fit, what_to_install
from amltk_dask.tls_errors import isolate_tls_errors

__all__ = ["NO_PAGES", "NO_PROFILE", "DaskExecutor", "Worker", "what_to_install"]

NO_PROFILE = {"distributed.worker.profile.enabled": False}
"""For clusters of ours: the profile's thread, which Python 3.11 lacks, is still there when they have been closed."""
NO_PAGES: dict[str, Any] = {"distributed.scheduler.http.routes": [], "distributed.worker.http.routes": []}
"""For clusters of ours without a dashboard: what is left of it shows logs and stacks to all users of the machine."""

_log = logging.getLogger("amltk_dask")

_LARGE = 1 << 20
_LOOK_AGAIN = 0.5
REMOTE_SECONDS = 10.0
"""How long an answer of a scheduler or a worker is waited for, but for results: they may hang, or the network."""
_QUIET = {"distributed.admin.large-graph-warning-threshold": "1 TB"}

isolate_tls_errors()  # here, since whatever opens a cluster imports this before


class DaskExecutor(RemoteExecutor[Call]):
    """Runs calls in the workers of a cluster of dask.

    Calls wait here, and each is given to dask when a worker has a free thread for it, for that
    worker alone. So dask never runs one again whose worker died, and it is always known which calls
    a worker took with it: those that it ran, no other.
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
        """Begin to give calls to the workers that there are, and to those that come.

        Args:
            client: Of the cluster. It must be this executor's own: it listens to events of the scheduler.
            close: Releases client and cluster, in a thread of its own, when no call is left; comes back
                when all is gone.
            kill: Ends the workers that run calls, children of calls included; comes back when they are gone, with
                those that it could not end.
            allowed_failures: How often a call is run again whose worker died.
            heartbeat_timeout: After so many seconds without a sign of life from its worker a call fails with
                `WorkerLost`. None: never.
            exit_info: Returns how a worker ended, as soon as that is known.
            exit_info_seconds: How many seconds a call waits for that.
            lose: Ends a worker that gives no sign of life.
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
        # What follows is touched in the loop of the client alone.
        self._workers: dict[str, Worker] = {}
        self._greeting: set[str] = set()
        self._free: collections.deque[Worker] = collections.deque()
        self._running: dict[Worker, dict[Call, asyncio.Task[None]]] = {}
        self._tasks: set[asyncio.Task[Any]] = set()
        self._loop: asyncio.AbstractEventLoop = client.loop.asyncio_loop
        asyncio.run_coroutine_threadsafe(self._begin(), self._loop).result()

    # For the owner, in any thread

    @property
    def calls_left(self) -> int:
        """How many calls have not ended: those that wait, and those that run."""
        return self._left

    @property
    def workers(self) -> Mapping[str, Worker]:
        """The workers that have come and are there, by address."""
        return dict(self._workers)

    @property
    def busy(self) -> list[Worker]:
        """The workers that run calls."""
        return [worker for worker, calls in list(self._running.items()) if calls]

    def release(self, address: str) -> bool:
        """Give a worker no more calls, if it has none; in the loop of the client.

        Returns:
            Whether it is so.
        """
        worker = self._workers.get(address)
        if worker is not None:
            if self._running.get(worker):
                return False
            self._running.pop(worker, None)
            del self._workers[address]
        return True

    def check(self) -> None:
        """Raise what keeps calls from running, if there is something.

        Raises:
            NotSupportedError: A worker has other versions than this process.
            Exception: What `fail_pending` was called with.
        """
        if self._failure is not None:
            raise self._failure

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more calls, and release everything when those that there are have been done.

        Args:
            wait: Come back when nothing is left.
            cancel_futures: Cancel the calls that have not begun; those that run are not ended.
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
        """End everything now, and come back when it is gone.

        Calls that have not begun are cancelled, those that run fail with `WorkerDied`, and the executor is shut down.
        Where a worker can't be ended, its calls are left alone until `shutdown()` is called again.
        """
        with self._changed:
            self._killed = self._killing = True
        self.shutdown(wait=False, cancel_futures=True)
        stay: Collection[Worker] = ()
        if not self._closing:
            stay = self._kill()
            self._in_loop(functools.partial(self._end_running, stay))
        with self._changed:
            self._stays, self._killing = bool(stay), False
            self._changed.notify_all()
        if not stay:
            self.shutdown()

    def fail_pending(self, error: BaseException) -> None:
        """Fail every call that has not ended with `error`, as well as all that are submitted later; from any thread."""
        with contextlib.suppress(RuntimeError):  # all is over, and no call is left
            self._loop.call_soon_threadsafe(self._fail, error)

    def _enqueue(self, call: Call) -> None:
        super()._enqueue(call)
        self._left += 1
        call.future.add_done_callback(self._one_less)

    def _request_dispatch(self) -> None:
        if not self._woken:
            self._woken = True  # `_dispatch` resets it before it looks at the queue
            self._loop.call_soon_threadsafe(self._dispatch)

    def _one_less(self, _: object) -> None:
        with self._changed:
            self._left -= 1
            self._changed.notify_all()

    def _in_loop(self, function: Callable[[], object]) -> None:
        async def call() -> None:
            function()

        asyncio.run_coroutine_threadsafe(call(), self._loop).result()

    def _close(self) -> None:
        with self._changed:
            self._changed.wait_for(lambda: (not self._left or self._given_up) and not self._killing)
            self._closing = True
        self._in_loop(functools.partial(self._end_running, ()))
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result()
        self._close_all()

    # The loop of the client

    async def _begin(self) -> None:
        self._client.subscribe_topic("all", self._on_event)
        self._greet(await self._addresses())
        await asyncio.gather(*self._tasks)
        self._spawn(self._watch_connection())
        if self._heartbeat_timeout is not None:
            self._spawn(self._watch(self._heartbeat_timeout))

    async def _end(self) -> None:
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
                self._greet([address])
            case {"action": "remove-worker", "worker": address}:
                self._forget(address)

    def _greet(self, addresses: Iterable[str]) -> None:
        new = [each for each in addresses if each not in self._greeting and each not in self._workers]
        if new:
            self._greeting.update(new)
            self._spawn(self._get_to_know(new))

    async def _get_to_know(self, addresses: list[str]) -> None:
        try:
            greeted = self._client.run(_worker.greet, workers=addresses, on_error="return")
            answers = await asyncio.wait_for(greeted, REMOTE_SECONDS)
        except (TimeoutError, OSError):
            answers = {}
        silent = []
        for address in addresses:
            if address not in self._greeting:  # it went meanwhile
                continue
            answer = answers.get(address)
            if answer is None or isinstance(answer, OSError):
                silent.append(address)
                continue
            self._greeting.discard(address)
            match answer:
                case BaseException() as error:
                    self._fail(check_fit(address, error))
                case _ if len(answer) != len(_worker.Greeting._fields):
                    self._fail(check_fit(address, TypeError("it has another version of amltk-dask")))
                case _:
                    self._welcome(address, _worker.Greeting(*answer))
        self._dispatch()
        if silent:
            self._spawn(self._ask_again(silent))

    async def _ask_again(self, addresses: list[str]) -> None:
        """Greet workers that did not answer, unless they are gone: on a busy machine a connection may fail."""
        await asyncio.sleep(_LOOK_AGAIN)
        try:
            there = await self._addresses()
        except OSError:  # whether the scheduler is lost, others watch
            self._spawn(self._ask_again(addresses))
            return
        asked = [each for each in addresses if each in self._greeting]
        self._greeting.difference_update(asked)
        for each in asked:  # one that hangs does not hold up the others
            if each in there:
                self._greet([each])

    async def _addresses(self) -> Collection[str]:
        """Return where the workers are that the scheduler has.

        Raises:
            OSError: It does not answer.
        """
        try:
            found: dict[str, int] = await asyncio.wait_for(self._client.scheduler.ncores(), REMOTE_SECONDS)
        except TimeoutError:
            raise _errors.no_answer(self._client.scheduler.address, REMOTE_SECONDS) from None
        return found

    def _welcome(self, address: str, greeting: _worker.Greeting) -> None:
        if (misfit := check_fit(address, greeting)) is not None:
            self._fail(misfit)
            return
        worker = Worker(address, greeting.pid, greeting.host, greeting.nthreads, greeting.nanny)
        self._workers[address] = worker
        self._running[worker] = {}
        self._free.extend([worker] * worker.nthreads)

    def _forget(self, address: str) -> None:
        """A worker is gone: what becomes of its calls is a matter of how it ended."""
        self._greeting.discard(address)
        worker = self._workers.pop(address, None)
        if worker is not None:
            calls = self._take_from(worker)
            if calls:
                self._spawn(self._bury(worker, calls))

    def _take_from(self, worker: Worker) -> list[Call]:
        running = self._running.pop(worker, {})  # killed, and now gone
        for task in running.values():
            task.cancel()
        return list(running)

    async def _bury(self, worker: Worker, calls: list[Call]) -> None:
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
        # The worker has a free thread for it, so it begins as soon as it gets there.
        call.started(host=worker.host, pid=worker.pid, worker=worker.address)
        with quiet:
            future = self._client.submit(
                _worker.run, call.data, call.token, worker.pid, worker.host,
                key=key, workers=[worker.address], allow_other_workers=False, pure=False, retries=0,
            )  # fmt: skip
        try:
            outcome = await future.result()
        except asyncio.CancelledError as error:
            if call not in self._running.get(worker, ()):  # it is we who do not want it any more
                raise
            outcome = RuntimeError(f"it was cancelled: {error}")  # by another client, or the connection is lost
        except Exception as error:  # dask's own
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
        else:  # which takes a while, and the loop has others to serve
            threading.Thread(target=self._settle, args=(call, worker, outcome), name="amltk-dask: unpickles").start()

    def _settle(self, call: Call, worker: Worker, outcome: bytes) -> None:
        if outcome != _worker.REFUSED:
            call.settle(outcome)
        else:
            why = "that process is not there any more, or has begun it before"
            error_of = functools.partial(_errors.given_up, call, worker, why)
            self._loop.call_soon_threadsafe(self._died, call, error_of)

    def _end_running(self, stay: Collection[Worker]) -> None:
        for worker in [each for each in self._running if each not in stay]:
            for call in self._take_from(worker):
                call.fail(call_killed(call))

    def _fail(self, error: BaseException | None) -> None:
        if error is None:
            return
        begun: list[Call] = []
        for worker in list(self._running):
            begun += self._take_from(worker)
            self._workers.pop(worker.address, None)
        self._break(error, *begun)

    async def _watch_connection(self) -> None:
        while self._client.status == "running":  # noqa: ASYNC110 - dask has no event for it
            await asyncio.sleep(_LOOK_AGAIN)
        where = self._client.scheduler.address
        self._fail(ConnectionError(f"The connection to dask's scheduler, {where}, is lost; its calls can't come back."))

    async def _watch(self, seconds: float) -> None:
        """Look for signs of life; by our own clock, for those of other machines may be wrong."""
        signs: dict[str, tuple[float, float]] = {}
        while True:
            await asyncio.sleep(seconds / 8)
            identity = await self._identity(seconds)
            if identity is None:
                self._lose_scheduler(seconds)
                return
            now = time.monotonic()
            for address, worker in list(self._workers.items()):
                said = identity["workers"].get(address, {}).get("last_seen", 0.0)
                if address not in signs or signs[address][0] != said:
                    signs[address] = said, now
                elif now - signs[address][1] > seconds:
                    del self._workers[address]
                    for call in self._take_from(worker):
                        self._died(call, functools.partial(_errors.lost, call, worker, seconds))
                    if self._lose is not None:
                        self._lose(worker)
            signs = {address: sign for address, sign in signs.items() if address in self._workers}

    async def _identity(self, seconds: float) -> Any:
        """Return what the scheduler says of itself and its workers; None if it says nothing in time."""
        for _ in range(2):  # what was late is this process if the second answer comes
            with contextlib.suppress(asyncio.TimeoutError, OSError):
                return await asyncio.wait_for(self._client.scheduler.identity(), seconds / 2)
        return None

    def _lose_scheduler(self, seconds: float) -> None:
        where = self._client.scheduler.address
        for worker in list(self._running):
            for call in self._take_from(worker):
                call.fail(_errors.lost_with_scheduler(call, worker, where, seconds))
        self._fail(_errors.no_answer(where, seconds))
