"""The executor: gives calls to Ray, as many as there is room for.

    submit ──> waiting ──> as many as have room ──> Ray ──> the future: what came of the call, or WorkerDied

Calls wait here rather than in Ray, where one could not tell, and so not say truthfully, whether a call that is
cancelled has begun. One thread gives calls to Ray and settles their futures.
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
    """Runs calls in workers of Ray: one task of Ray's for each call, which is never run twice.

    A worker that dies fails the call that it ran (`amltk.exceptions.WorkerDied`), no other.
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
        """Connect to a cluster; without an address, and unless the program is connected to one, start one.

        Args:
            max_workers: How many calls run at the same time at most; by default, as many as have room.
            num_cpus: How many processors a call takes.
            num_gpus: How many GPUs a call takes.
            memory: How many bytes of memory a call takes.
            resources: What else a call takes.
            runtime_env: What workers need: see Ray's documentation.
            address: Of a cluster that exists.

        Raises:
            NotSupportedError: A call has no room in the cluster of this machine, or the program is connected elsewhere.
            ConnectionError: There is no cluster at the address.
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
        self._told = False  # that calls wait
        self._memory_kills = OomKills()
        self._events: queue.SimpleQueue[tuple[Call, Future[bytes]] | None] = queue.SimpleQueue()
        # A daemon, for who forgets shutdown() shall have a program that ends, after its calls.
        self._thread = threading.Thread(target=self._serve, name="amltk-ray: gives calls to Ray", daemon=True)
        self._thread.start()
        atexit.register(self.shutdown)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more calls, and close the connection when those that there are have been done.

        Args:
            wait: Come back when nothing is left. A cluster that others use stays.
            cancel_futures: Cancel the calls that have not begun; those that run are not ended.
        """
        self._stop_accepting(cancel_futures=cancel_futures)
        self._events.put(None)
        if wait and threading.current_thread() is not self._thread:
            self._thread.join()

    def kill_workers(self) -> None:
        """End the calls of this executor now, and come back when they are gone, with the processes that they started.

        They get SIGKILL.
        Calls that have not begun are cancelled, those that run fail with `WorkerDied`, and the executor is shut down.
        What Ray can't end within 5 seconds, on a machine that does not answer, say, is left alone.
        """
        with self._changed:
            self._killed = True
        self.shutdown(wait=False, cancel_futures=True)
        end = time.monotonic() + _PATIENCE
        while True:
            with self._changed:
                running = list(self._running)
            workers = {call: self._pid(call) for call in running}
            # At once: a request to Ray that its worker does not survive would keep its socket, and so would the orderly
            # end of a worker that is asked to.
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
            self._told = True  # `_dispatch` resets it before it looks at the queue
            self._events.put(None)

    # The thread of the executor

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
        """Give Ray what there is room for; False if the executor has nothing more to do."""
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
            except BaseException as error:  # somebody has closed the connection, say
                self._ended(call, call.fail, error)

    def _room(self) -> int:
        slots = self._slots
        if self._max_workers is not None:
            slots = min(slots, self._max_workers)
        elif self._local is None:
            slots += 1  # so that a cluster that can grow sees that it should
        return max(slots, 1) + self._ahead

    def _count(self) -> None:
        self._counted = time.monotonic()
        before, self._slots = self._slots, self._connection.slots(self._needs)
        if before and not self._slots:
            needs = ", ".join(f"{amount:g} {name}" for name, amount in self._needs.items() if amount)
            if self._local is not None:
                msg = f"A call asks for {needs}, and the cluster of this machine has no room for that: {_has()}."
                raise NotSupportedError(msg)
            _log.warning("A call asks for %s, and no node of the cluster has that at present: %s.", needs, _has())

    def _arrived(self, call: Call, arrived: Future[bytes]) -> None:
        error = arrived.exception()
        if error is None:
            outcome = arrived.result()
            seconds = read_outcome(outcome).execution.duration or 0.0
            # Ray is quicker if it has the next calls already. But what Ray has can't be cancelled any more, so that has
            # to be done soon, and a short call is no promise that the next ones are.
            soon = int(_AHEAD_SECONDS / max(seconds, 1e-6)) * max(self._slots, 1)
            self._ahead = min(self._ahead + 1, soon, _AHEAD)
            self._ended(call, call.settle, outcome)
        elif isinstance(error, _DEATHS) and not self._killed:
            bury = functools.partial(self._bury, call, error)  # which waits for a moment, and others go on
            threading.Thread(target=bury, name="amltk-ray: looks how a worker died").start()
        elif self._killed:
            self._note_begun(call)
            self._ended(call, call.fail, call_killed(call))
        else:
            failure = _errors.given_up(call, error)
            failure.__cause__ = error
            self._ended(call, call.fail, failure)

    def _note_begun(self, call: Call) -> int | None:
        """Note when a call has begun whose worker is gone, and return the process; None if nobody knows."""
        pid = self._local.pid(call.ref.task_id().hex()) if self._local else None
        if self._local and pid is not None:
            call.started(host=platform.node(), pid=pid, ago=self._local.seconds_since(pid))
        return pid

    def _bury(self, call: Call, error: BaseException) -> None:
        ended, host, said = WorkerExit(), "", text_of(error)
        memory: bool | None = True if isinstance(error, exceptions.OutOfMemoryError) else None
        if self._local is not None:
            pid = self._note_begun(call)
            ended, host = self._local.exit_info(pid) if pid is not None else ended, platform.node()
            if memory is None:
                memory = self._memory_kills.explain(ended.exit_code)
            if isinstance(error, exceptions.WorkerCrashedError):
                said = ""  # only that it died, and where Ray's files are, which are gone
        if self._killed:
            failure = call_killed(call)
        else:
            failure = _errors.died(call, host, replace(ended, out_of_memory=memory), said)
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
