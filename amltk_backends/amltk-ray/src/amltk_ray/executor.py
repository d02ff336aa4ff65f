"""The executor: gives calls to Ray, as many as it can run.

    submit ──> waiting ──> as many as can run ──> Ray ──> the future: the call's outcome, or WorkerDied

Calls wait here rather than in Ray, where the executor could not find out whether a cancelled call has begun. One thread
gives calls to Ray and settles their futures.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import logging
import platform
import queue
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import replace
from typing import Any

import ray
from ray import exceptions

from amltk.exceptions import NotSupportedError, text_of
from amltk.remote import read_outcome
from amltk.remote.executor import RemoteExecutor
from amltk.remote.process_tree import end_process_trees
from amltk.remote.worker_errors import WorkerExit, call_killed
from amltk.remote.worker_exit import OomKills
from amltk_ray import _errors, _worker
from amltk_ray._call import Call
from amltk_ray._connection import connect

__all__ = ["RayExecutor"]

_log = logging.getLogger("amltk_ray")

_DEATHS = (exceptions.WorkerCrashedError, exceptions.NodeDiedError, exceptions.OutOfMemoryError)
_AHEAD = 256
_AHEAD_SECONDS = 0.25
_LOOK_AGAIN = 0.05
_COUNT_AGAIN = 2.0
_PATIENCE = 5.0


class RayExecutor(RemoteExecutor[Call]):
    """Runs calls in workers of Ray: each call is one task of Ray, which never runs twice.

    A worker that dies fails only the call that it ran (`amltk.exceptions.WorkerDied`).
    """

    def __init__(
        self,
        max_workers: int | None = None,
        *,
        num_cpus: float = 1,
        num_gpus: float = 0,
        memory: int | None = None,
        resources: Mapping[str, float] | None = None,
        runtime_env: Mapping[str, Any] | None = None,
        address: str | None = None,
    ) -> None:
        """Connect to a cluster; without an address or a connection of the program, start one.

        Args:
            max_workers: Maximum number of calls that run at the same time; by default, as many as the cluster can run.
            num_cpus: The number of processors of a call.
            num_gpus: The number of GPUs of a call.
            memory: The bytes of memory of a call.
            resources: Other resources of a call.
            runtime_env: The environment of workers: see Ray's documentation.
            address: The address of an existing cluster.

        Raises:
            NotSupportedError: The cluster of this machine can't run such a call, or the program is connected elsewhere.
            ConnectionError: No cluster answers at the address.
            RuntimeError: Ray did not start.
        """
        super().__init__(Call)
        self._max_workers = max_workers
        self._needs = {"CPU": num_cpus, "GPU": num_gpus, "memory": memory or 0, **(resources or {})}
        self._connection = connect(address, self._needs, max_workers, runtime_env)
        try:
            self._local = self._connection.local
            options: dict[str, Any] = {"num_cpus": num_cpus, "max_retries": 0, "memory": memory}
            options |= {"num_gpus": num_gpus} if num_gpus else {}
            options |= {"resources": dict(resources)} if resources else {}
            if runtime_env != self._connection.job_env:
                wanted = dict(runtime_env or {})
                options["runtime_env"] = self._local.runtime_env(wanted) if self._local else wanted
            self._run = ray.remote(**options)(_worker.runner(self._local.home if self._local else None))
            self._slots = 1
            self._count()
        except BaseException:
            self._connection.close()
            raise
        self._running: dict[Call, None] = {}
        self._ahead = 0
        self._killed = self._given_up = False
        self._told = False  # whether the thread knows that calls wait
        self._memory_kills = OomKills()
        self._events: queue.SimpleQueue[tuple[Call, Future[bytes]] | None] = queue.SimpleQueue()
        # A daemon, so that a program without shutdown() ends, after its calls.
        self._thread = threading.Thread(target=self._serve, name="amltk-ray: gives calls to Ray", daemon=True)
        self._thread.start()
        atexit.register(self.shutdown)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Accept no more calls, and close the connection when the calls have ended.

        Args:
            wait: Return only when nothing is left. A cluster with other users stays.
            cancel_futures: Cancel the calls that have not begun; running calls go on.
        """
        self._stop_accepting(cancel_futures=cancel_futures)
        self._events.put(None)
        if wait and threading.current_thread() is not self._thread:
            self._thread.join()

    def kill_workers(self) -> None:
        """End the calls of this executor now; return when they and the processes that they started are gone.

        They get SIGKILL. Calls that have not begun are cancelled, running ones fail with `WorkerDied`, and the executor
        is shut down. Processes that Ray can't end within 5 seconds are left, as on a machine that does not answer.
        """
        with self._changed:
            self._killed = True
        self.shutdown(wait=False, cancel_futures=True)
        end = time.monotonic() + _PATIENCE
        while True:
            with self._changed:
                running = list(self._running)
            workers = {call: self._pid(call) for call in running}
            # At once: a request to Ray whose worker dies before the answer would keep its socket, and so would the
            # orderly end of a worker.
            end_process_trees([pid for pid in workers.values() if pid is not None], 0)
            for call, pid in workers.items():
                if pid is None and call.ref is not None:
                    with contextlib.suppress(Exception):  # the connection may be lost
                        ray.cancel(call.ref, force=self._local is None)
            with self._changed:
                if self._changed.wait_for(lambda: not self._running, _LOOK_AGAIN):
                    break
                if time.monotonic() > end:
                    self._given_up = True
                    self._events.put(None)
                    return
        self.shutdown()

    def _pid(self, call: Call) -> int | None:
        ref = call.ref  # None once the call has ended
        return self._local.pid(ref.task_id().hex()) if self._local and ref is not None else None

    def _request_dispatch(self) -> None:
        if not self._told:
            self._told = True  # `_dispatch` resets it before it reads the queue
            self._events.put(None)

    # The executor's thread

    def _serve(self) -> None:
        while self._dispatch():
            event = None
            with contextlib.suppress(queue.Empty):
                event = self._events.get(timeout=None if self._local else _COUNT_AGAIN)
            if event is not None:
                self._arrived(*event)
            if self._local is None and time.monotonic() - self._counted > _COUNT_AGAIN:
                with contextlib.suppress(Exception):  # the connection may be lost
                    self._count()
        self._connection.close()
        atexit.unregister(self.shutdown)

    def _dispatch(self) -> bool:
        """Give Ray as many calls as it can run; return False if the executor has nothing left to do."""
        while True:
            with self._changed:
                self._told = False
                if self._given_up or not (self._waiting or self._running or not self._closed):
                    return False
                if not self._waiting or len(self._running) >= self._room():
                    return True
                call = self._take()
                if call is None:
                    continue
                self._running[call] = None
            try:
                call.ref = self._run.remote(call.data)
                call.ref.future().add_done_callback(lambda future, call=call: self._events.put((call, future)))
            except BaseException as error:  # other code may have closed the connection
                self._ended(call, call.fail, error)

    def _room(self) -> int:
        slots = self._slots
        if self._max_workers is not None:
            slots = min(slots, self._max_workers)
        elif self._local is None:
            slots += 1  # so that a growing cluster sees the demand
        return max(slots, 1) + self._ahead

    def _count(self) -> None:
        self._counted = time.monotonic()
        before, self._slots = self._slots, self._connection.slots(self._needs)
        if before and not self._slots:
            needs = ", ".join(f"{amount:g} {name}" for name, amount in self._needs.items() if amount)
            if self._local is not None:
                msg = f"A call needs {needs}, which the cluster of this machine does not have: {_has()}."
                raise NotSupportedError(msg)
            _log.warning("A call needs %s, which no node of the cluster has at present: %s.", needs, _has())

    def _arrived(self, call: Call, arrived: Future[bytes]) -> None:
        error = arrived.exception()
        if error is None:
            outcome = arrived.result()
            seconds = read_outcome(outcome).execution.duration or 0.0
            # Ray is faster if it already has the next calls. But those can't be cancelled any more, so they must be
            # few enough to end soon, and one short call does not promise that the next ones are short.
            soon = int(_AHEAD_SECONDS / max(seconds, 1e-6)) * max(self._slots, 1)
            self._ahead = min(self._ahead + 1, soon, _AHEAD)
            self._ended(call, call.settle, outcome)
        elif isinstance(error, _DEATHS) and not self._killed:
            # In a thread: it waits for a moment, and must not hold up the others.
            on_exit = functools.partial(self._on_worker_exit, call, error)
            threading.Thread(target=on_exit, name="amltk-ray: looks how a worker died").start()
        elif self._killed:
            self._note_begun(call)
            self._ended(call, call.fail, call_killed(call))
        else:
            failure = _errors.given_up(call, error)
            failure.__cause__ = error
            self._ended(call, call.fail, failure)

    def _note_begun(self, call: Call) -> int | None:
        """Record when a call of a dead worker began, and return the process; None if unknown."""
        pid = self._local.pid(call.ref.task_id().hex()) if self._local else None
        if self._local and pid is not None:
            call.started(host=platform.node(), pid=pid, ago=self._local.seconds_since(pid))
        return pid

    def _on_worker_exit(self, call: Call, error: BaseException) -> None:
        ended, host, report = WorkerExit(), "", text_of(error)
        memory: bool | None = True if isinstance(error, exceptions.OutOfMemoryError) else None
        if self._local is not None:
            pid = self._note_begun(call)
            ended, host = self._local.exit_info(pid) if pid is not None else ended, platform.node()
            if memory is None:
                memory = self._memory_kills.explain(ended.exit_code)
            if isinstance(error, exceptions.WorkerCrashedError):
                report = ""  # it has only the death, and the paths of files that are gone
        if self._killed:
            failure = call_killed(call)
        else:
            failure = _errors.died(call, host, replace(ended, out_of_memory=memory), report)
        failure.__cause__ = error
        self._ended(call, call.fail, failure)

    def _ended(self, call: Call, settle: Callable[..., None], *outcome: object) -> None:
        settle(*outcome)
        call.ref = None
        with self._changed:
            self._running.pop(call, None)
            self._changed.notify_all()
        if threading.current_thread() is not self._thread:
            self._events.put(None)


def _has() -> str:
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    shown = [
        ", ".join(f"{amount:g} {name}" for name, amount in sorted(node.items()) if ":" not in name) for node in nodes
    ]
    return "; ".join(shown) or "it has no nodes"
