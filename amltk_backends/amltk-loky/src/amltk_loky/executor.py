"""The executor: gives calls to pools of loky, and replaces broken pools.

    submit ──> waiting ──> a pool with room ───────> its only worker
                  ^                                      │
                  └── a worker died before it began ─────┤
                                                         └──> the future: the call's outcome, or WorkerDied

loky ends all calls of a pool when one worker dies. So each worker has a pool of its own with one call
at a time: it is then known whose call it was, and no other call is affected.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import logging
import platform
import sys
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import BrokenExecutor, Future, ThreadPoolExecutor
from typing import Any

import loky
from loky.process_executor import ShutdownExecutorError

from amltk.cpus import cpu_count
from amltk.preparation import numerical_threads, python_executable
from amltk.remote import dumps, load_exception
from amltk.remote.executor import RemoteExecutor
from amltk.remote.process_tree import end_process_trees
from amltk.remote.worker_errors import call_killed
from amltk.remote.worker_exit import OomKills
from amltk_loky import _pool, _worker
from amltk_loky._call import Call
from amltk_loky._errors import broken, died, no_worker
from amltk_loky._pool import Pool

__all__ = ["LokyExecutor"]

_LOOK_AGAIN = 0.05
# Maximum idle seconds of a process of loky: it polls, and the system accepts no more than 24 days.
_LONGEST = 20 * 86_400.0
_TRY_AGAIN = 1.0  # seconds until the next try to start a worker, after a failure

_log = logging.getLogger("amltk")


def _check_interpreter() -> None:
    """Check that loky can start the interpreter: it knows only `sys.executable`."""
    python = python_executable()
    if python != sys.executable:
        msg = f"loky starts sys.executable, which is {sys.executable!r}: set sys.executable = {python!r}."
        raise RuntimeError(msg)


class LokyExecutor(RemoteExecutor[Call]):
    """Runs calls in processes of loky, and continues when one of them dies.

    A worker that dies fails only the call that it ran (`amltk.exceptions.WorkerDied`). A call that
    had not begun is given to another worker, once. No call that has begun runs again.

    Callbacks of futures run in threads of loky.
    """

    def __init__(
        self,
        max_workers: int | None = None,
        *,
        timeout: float | None = None,
        initializer: Callable[..., object] | None = None,
        initargs: tuple[Any, ...] = (),
        env: Mapping[str, str] | None = None,
        reusable: bool = False,
    ) -> None:
        """Start nothing yet: the calls start the processes that they need.

        Args:
            max_workers: Maximum number of processes; by default one for each processor that this process
                may use, up to `loky.cpu_count()`.
            timeout: Idle seconds after which a process ends; a new one starts when it is needed. None keeps
                processes. The default with `reusable` is 10 seconds.
            initializer: Called in each process before its first call. If it raises, the pool is
                broken: every call fails with `BrokenProcessPool`.
            initargs: Passed to `initializer`.
            env: Environment variables of the processes, set before they load any module.
            reusable: Use the pool of `loky.get_reusable_executor()`, which stays when this is shut down. If it
                breaks, pools of this executor take its place.

        Raises:
            Exception: `initializer` or `initargs` can't be pickled.
        """
        _check_interpreter()
        super().__init__(Call)
        processors = min(loky.cpu_count(), cpu_count())
        self._max_workers = max_workers or processors
        options: dict[str, Any] = {"env": None if env is None else dict(env)}
        own = {"env": {**numerical_threads(processors, self._max_workers), **(env or {})}}
        if timeout is not None:
            options["timeout"] = min(timeout, _LONGEST)  # otherwise loky's own default applies
        prepare = None if initializer is None else dumps((initializer, initargs))
        self._open_own = functools.partial(_pool.own, prepare, **{**options, **own})
        self._open: Callable[[], Pool] = self._open_own
        if reusable:
            options |= {"initializer": initializer, "initargs": initargs}
            self._open = functools.partial(_pool.shared, self._max_workers, **options)
        self._running: set[Call] = set()
        self._pools: list[Pool] = []
        self._retired: set[Pool] = set()
        self._killed = False
        self._crowded_until = 0.0
        self._told = False
        self._closer: threading.Thread | None = None
        self._memory_kills = OomKills()

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Accept no more calls, and release the processes when the calls have ended.

        Args:
            wait: Return only when nothing is left: no call, process, thread or descriptor.
            cancel_futures: Cancel the calls that have not begun; running calls go on.
        """
        self._stop_accepting(cancel_futures=cancel_futures)
        with self._changed:
            if self._closer is None:
                self._closer = threading.Thread(target=self._close, name="amltk-loky: closes the executor")
                self._closer.start()
        if wait:
            self._closer.join()

    def kill_workers(self) -> None:
        """End everything now, and return when it is gone: workers, their children and grandchildren.

        They get SIGTERM, and SIGKILL two seconds later. Calls that have not begun are cancelled, running ones fail with
        `WorkerDied`, and the executor is shut down. With `reusable`, this also ends other code's calls in that pool.
        """
        with self._changed:
            self._killed = True
            begun = [call for call in self._waiting if call.future.running()]
            for call in begun:
                self._waiting.remove(call)
        for call in begun:
            call.fail(call_killed(call))
        self.shutdown(wait=False, cancel_futures=True)
        while True:
            with self._changed:
                pools = list(self._pools)
            end_process_trees(worker for pool in pools for worker in pool.workers())
            with self._changed:
                if self._changed.wait_for(lambda: not self._running, _LOOK_AGAIN):
                    break
        self.shutdown()

    def _broken(self, cause: BaseException) -> BaseException:
        return broken(cause)

    # The methods below run in the submitting thread or, mostly, in the thread of the pool that has just ended a call.

    def _request_dispatch(self) -> None:
        self._dispatch()

    def _dispatch(self) -> None:
        while (call := self._next()) is not None:
            try:
                pool, outcome = self._start(call)
            except BaseException as error:  # the system can't start a process
                if isinstance(error, Exception) and self._waits_again(call, error):
                    continue
                call.fail(no_worker(error))
                self._ended(call)
                if not isinstance(error, Exception):
                    raise
            else:
                outcome.add_done_callback(functools.partial(self._arrived, call, pool))

    def _next(self) -> Call | None:
        with self._changed:
            if len(self._running) < self._max_workers and not self._is_crowded() and (call := self._take()) is not None:
                self._running.add(call)
                return call
            self._changed.notify_all()
            return None

    def _is_crowded(self) -> bool:
        """Whether calls wait for existing workers, because a moment ago the system could not start another."""
        return bool(self._running) and time.monotonic() < self._crowded_until and not any(p.room for p in self._pools)

    def _waits_again(self, call: Call, error: Exception) -> bool:
        """Queue a call again that got no new worker, if there are other workers; return whether it was queued."""
        with self._changed:
            self._running.discard(call)
            if self._killed or not (self._running or any(pool.room for pool in self._pools)):
                return False
            self._waiting.appendleft(call)
            self._crowded_until = time.monotonic() + _TRY_AGAIN
            warned, self._told = self._told, True
            workers = len(self._pools)
        if not warned:
            reason = str(no_worker(error))  # not the error itself, which holds frames, and so these descriptors
            _log.warning("with_loky goes on with %d of %d workers: %s", workers, self._max_workers, reason)
        return True

    def _start(self, call: Call) -> tuple[Pool, Future[_worker.Outcome]]:
        while True:
            with self._changed, contextlib.ExitStack() as unless_opened:
                pool = next((pool for pool in self._pools if pool.room), None)
                if pool is None:
                    unless_opened.enter_context(_pool.spare_files())
                    pool = self._open()
                    self._pools.append(pool)
                pool.room -= 1
                until_started = unless_opened.pop_all()
            try:
                with until_started:
                    return pool, pool.submit(call.data)
            except (BrokenExecutor, ShutdownExecutorError):  # an idle worker died
                self._retire(pool)
            except BaseException:
                self._retire(pool)  # the pool would run the call after all, with the next one
                raise

    def _arrived(self, call: Call, pool: Pool, outcome: Future[_worker.Outcome]) -> None:
        error = outcome.exception()
        if error is None:
            pool.forget_notes()
            with self._changed:
                pool.room += 1
            self._settle(call, *outcome.result())
        elif isinstance(error, BrokenExecutor):
            self._on_worker_exit(call, pool, error)
        else:
            self._retire(pool)
            call.fail(error)
        self._ended(call)
        self._dispatch()

    def _settle(self, call: Call, begun: bool, data: bytes) -> None:
        if begun:
            call.settle(data)
        else:
            self._break(load_exception(data), call)

    def _on_worker_exit(self, call: Call, pool: Pool, breakdown: BrokenExecutor) -> None:
        ended = pool.exit_info()
        self._retire(pool)
        with self._changed:
            if not (ended.begun or call.moved or self._killed or self._failure):
                call.moved = True
                self._waiting.appendleft(call)
                return
        if ended.started is not None:
            ago = time.time() - ended.started
            call.started(host=platform.node(), pid=ended.pid, ago=ago)
        if self._killed:
            call.fail(call_killed(call))
            return
        memory = self._memory_kills.explain(ended.exit_code)
        error = died(call, dataclasses.replace(ended, out_of_memory=memory), shared=pool.shared)
        if ended.pid is None:  # loky itself failed, and no worker died
            error.__cause__ = breakdown
        call.fail(error)

    def _ended(self, call: Call) -> None:
        with self._changed:
            self._running.discard(call)
            self._changed.notify_all()

    def _retire(self, pool: Pool) -> None:
        with self._changed:
            if pool not in self._pools:  # another call of a shared pool has done this
                return
            self._pools.remove(pool)
            self._retired.add(pool)
            self._open = self._open_own  # loky keeps a reusable pool for each thread, and any thread may run this
        threading.Thread(target=self._close_retired, args=(pool,), name="amltk-loky: closes a broken pool").start()

    def _close_retired(self, pool: Pool) -> None:
        pool.close()
        with self._changed:
            self._retired.discard(pool)
            self._changed.notify_all()

    def _close(self) -> None:
        with self._changed:
            self._changed.wait_for(lambda: not (self._waiting or self._running))
            pools = [pool for pool in self._pools if self._killed or not pool.shared]
            self._pools.clear()
        if pools:
            with ThreadPoolExecutor(len(pools)) as threads:  # one thread for each, as each waits for a process
                list(threads.map(Pool.close, pools))
        with self._changed:
            self._changed.wait_for(lambda: not self._retired)
