"""The executor: each call is a run of the DAG, and one thread manages all of them.

    submit ──> waiting ──> in the store, a run triggered ──> begun ──> outcome in the store ──> the future
                  │                  │                         │
                  │                  │   no active run, and no outcome: asks why ──> WorkerDied
                  └── cancelled ─────┴── stopped by the lease, run marked failed ──> its end is awaited, then forgotten

The store holds each call's outcome. Airflow's states only identify calls that will never have one. So the API may be
away for a while, and nothing is lost.
"""

from __future__ import annotations

import functools
import logging
import threading
import time
import uuid
from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import asdict
from typing import Any

from amltk.exceptions import BatchSystemError
from amltk.remote.executor import RemoteExecutor
from amltk.remote.worker_errors import call_killed, executor_broken
from amltk_airflow import _errors, _messages
from amltk_airflow._api import Api, UnreachableError
from amltk_airflow._call import Call
from amltk_airflow._ending import KILL_PATIENCE, end_calls
from amltk_airflow._gone import ask_about, try_again
from amltk_airflow._health import Health, Outage
from amltk_airflow._lease import Lease
from amltk_airflow._messages import Begun, Order, Outcome
from amltk_airflow._outcomes import settle
from amltk_airflow._signing import Key, SignatureError
from amltk_airflow._store import Store

__all__ = ["AirflowExecutor"]

_log = logging.getLogger("amltk_airflow")


class AirflowExecutor(RemoteExecutor[Call]):
    """Runs calls as runs of the DAG `amltk` in Airflow.

    A task that dies fails only the call that it ran (`amltk.exceptions.WorkerDied`). No call runs twice. Callbacks of
    futures run in a thread of this executor.
    """

    def __init__(
        self, api: Api, store: Store, key: Key, *, max_workers: int = 16, interval: float = 1.0, lease: float = 30.0
    ) -> None:
        """Prepare the executor; nothing starts yet.

        Args:
            api: The server.
            store: The store for calls and results.
            key: Signs them.
            max_workers: Maximum number of active runs.
            interval: Seconds between looks at the store and at Airflow.
            lease: Seconds without a sign of life from this process after which workers end their calls.
        """
        self._api = api
        self._key = key
        self._max_workers = max_workers
        self._interval = interval
        self._seconds = lease
        session = uuid.uuid4().hex[:12]
        super().__init__(functools.partial(Call, session=session))
        self._store = store.within(f"amltk-{session}")
        self._calls: list[Call] = []
        self._lease: Lease | None = None
        self._thread: threading.Thread | None = None
        self._woken = False
        self._killed = False
        self._looked = 0.0
        self._outage = Outage(api.url, self._store.url, interval)
        self._health = Health(api)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Accept no more calls, and release everything when the calls have ended.

        Args:
            wait: Return only when nothing is left: no call, run, thread, or object in the store.
            cancel_futures: Cancel the calls for which no run was requested; the others go on.
        """
        self._stop_accepting(cancel_futures=cancel_futures)
        self._request_dispatch()
        if self._thread is None:
            self._api.close()
        elif wait:
            self._thread.join()

    def kill_workers(self) -> None:
        """End everything now, and return when it is gone: runs, calls, and every process that calls have started.

        The store tells workers to end. Marking the runs as failed tells Airflow. Calls that have not begun are
        cancelled, running ones fail with `WorkerDied`, and the executor is shut down.
        """
        with self._changed:
            self._killed = True
            lease = self._lease
        if lease is not None:
            try:
                lease.end()
            except OSError as error:
                _log.warning("The store %s can't tell workers to end: %s", self._store.url, error)
        self.shutdown(cancel_futures=True)

    def worker_counts(self) -> Mapping[str, int]:
        """Return how many calls are queued in Airflow, and how many run."""
        with self._changed:
            running = sum(call.begun is not None for call in self._calls)
            return {"queued": len(self._calls) - running, "running": running}

    def _enqueue(self, call: Call) -> None:
        if self._thread is None:
            thread = threading.Thread(target=self._drive, name="amltk-airflow: calls", daemon=True)
            thread.start()
            self._thread = thread
        super()._enqueue(call)
        call.future.add_done_callback(functools.partial(self._if_cancelled, call))

    def _request_dispatch(self) -> None:
        with self._changed:
            self._woken = True
            self._changed.notify_all()

    def _if_cancelled(self, call: Call, future: Future[Any]) -> None:
        if future.cancelled():
            if call.asked and self._lease is not None:
                self._lease.stop_soon(call.id)  # the executor's thread may be waiting for a server
            self._request_dispatch()

    # The executor's thread runs everything below.

    def _drive(self) -> None:
        try:
            while self._sleep():
                if self._killed:
                    break
                self._round()
            if self._killed or self._failure is not None:
                self._end_all()
        except BaseException as error:  # a last resort, so that no caller waits forever
            self._failure = error
            self._end_all()
        finally:
            self._let_go()

    def _sleep(self) -> bool:
        """Wait for work, or for the next look; return False when no work is left."""
        with self._changed:
            if not self._woken and (self._waiting or self._calls or not self._closed):
                busy = self._waiting or self._calls
                self._changed.wait((self._outage.pause or self._interval) if busy else None)
            self._woken = False
            if self._failure is not None:
                return False
            return bool(self._waiting or self._calls or not self._closed)

    def _round(self) -> None:
        """Do all current work; work that fails because a server is away is repeated in a later round."""
        try:
            if self._lease is None:
                self._store.make()
                with self._changed:
                    self._lease = Lease(self._store, self._key, self._seconds)
            self._end_cancelled(self._lease)
            now = time.monotonic()
            if looks := now - self._looked >= self._interval:
                self._looked = now
                self._look()
            self._trigger(self._lease)
            if looks:
                self._look_for_the_gone(self._lease)
                self._health.look(self._calls)
        except (UnreachableError, OSError) as error:
            self._failure = self._failure or self._outage.note(error)
        except BatchSystemError as error:
            self._failure = error
        else:
            self._outage.end()

    def _trigger(self, lease: Lease) -> None:
        while True:
            with self._changed:
                while self._waiting and len(self._calls) < self._max_workers:
                    call = self._waiting.popleft()
                    if call.future.cancelled():
                        call.begin()
                    else:
                        self._calls.append(call)
                due = next((call for call in self._calls if call.accepted is None and call.ending is None), None)
            if due is None or self._killed:
                return
            if due.future.cancelled():
                self._woken = True
                return
            self._ask_to_run(due, lease.beat)

    def _ask_to_run(self, call: Call, beat: int) -> None:
        where = call.id, self._store.url
        order = Order.signed(self._key, call.run_id, *where, call.data, self._seconds, beat=beat)
        if not call.sent:
            self._store.write(f"{call.id}.call", call.data)
            call.sent = True
        call.asked = True
        try:
            self._api.trigger(call.run_id, asdict(order))
        except BatchSystemError as error:  # this call can't run; each other call finds out for itself
            self._forget(call)
            call.fail(executor_broken(error))
        else:
            call.accepted = time.monotonic()

    def _look(self) -> None:
        """Read from the store which calls have begun or ended."""
        if not any(call.asked for call in self._calls):
            return
        names = self._store.names()
        for call in list(self._calls):
            if f"{call.id}.outcome" in names:
                self._arrived(call)
            elif f"{call.id}.begun" in names:
                if call.begun is None:
                    self._has_begun(call)
            elif call.ending is not None:
                self._forget(call)  # it has not begun, and can't any more

    def _has_begun(self, call: Call) -> None:
        sealed = self._store.read(f"{call.id}.begun")
        if sealed is None:
            return
        try:
            fields, _ = _messages.read(self._key, ("begun", call.run_id), sealed)
        except SignatureError as error:
            self._give_up(call, _errors.forged(call, "The object that names the process", error))
            return
        call.begun = Begun(**fields)
        call.started(host=call.begun.host, at=call.begun.at)
        if call.ending is None and not call.begin():
            self._woken = True  # it was cancelled

    def _arrived(self, call: Call) -> bool:
        """Settle a call if its outcome is there; return whether it was."""
        sealed = self._store.read(f"{call.id}.outcome")
        if sealed is None:
            return False
        try:
            fields, data = _messages.read(self._key, ("outcome", call.run_id), sealed)
        except SignatureError as error:
            self._give_up(call, _errors.forged(call, "The outcome", error))
            return True
        self._forget(call)
        if call.begin() and (failure := settle(call, Outcome(**fields), data)) is not None:
            self._failure = failure
        return True

    def _look_for_the_gone(self, lease: Lease) -> None:
        """Find the calls without an active run in Airflow and without an outcome."""
        accepted = [call for call in self._calls if call.accepted is not None and call.ending is None]
        if not accepted:
            return
        active = self._api.active_runs()
        for call in accepted:
            if call.run_id in active or self._arrived(call):
                continue
            gone = ask_about(self._api, call)
            if gone is None:
                continue
            if gone.before_it_began and try_again(call, lease, self._store):
                self._woken = True
            else:
                self._give_up(call, _errors.gone(call, gone.state, gone.task, gone.log))

    def _end_cancelled(self, lease: Lease) -> None:
        now = time.monotonic()
        for call in list(self._calls):
            if call.ending is not None and now - call.ending > self._seconds + KILL_PATIENCE:
                _log.warning("%s was cancelled, and has not ended in time: %s", call.describe(), call.begun)
                self._forget(call)
        cancelled = [call for call in self._calls if call.ending is None and call.future.cancelled()]
        for call in cancelled:
            call.begin()
        for call in [call for call in cancelled if not call.asked]:
            cancelled.remove(call)
            self._forget(call)
        if not cancelled:
            return
        # The lease changes before the look at what has begun: so either the worker or this process notices the other.
        lease.stop(*(call.id for call in cancelled))
        self._store.remove(*(f"{call.id}.call" for call in cancelled))
        for call in cancelled:
            call.ending = now
        for call in cancelled:
            self._api.fail_run(call.run_id)

    def _give_up(self, call: Call, error: BaseException) -> None:
        """Fail a call whose state is unknown, and have it ended."""
        call.fail(error)
        self._forget(call)
        if self._lease is not None:
            self._lease.stop(call.id)
        self._api.fail_run(call.run_id)

    def _forget(self, call: Call) -> None:
        """Stop tracking a call, and remove its objects; any left go with the session's folder."""
        with self._changed:
            if call in self._calls:
                self._calls.remove(call)
        if self._lease is not None:
            self._lease.forget(*call.ids)
        try:
            self._store.remove(*(f"{each}.{what}" for each in call.ids for what in ("call", "begun", "outcome")))
        except OSError as error:
            _log.info("Objects of a call stay in %s until the end of the run: %s", self._store.url, error)

    def _end_all(self) -> None:
        """End all calls, and wait for their end."""
        with self._changed:
            self._closed = True
            calls, waiting = list(self._calls), list(self._waiting)
            self._waiting.clear()
        for call in waiting:
            self._resolve(call)
        end_calls([call for call in calls if call.asked], self._lease, self._store, self._api, self._interval)
        for call in calls:
            self._resolve(call)
        with self._changed:
            self._calls.clear()

    def _resolve(self, call: Call) -> None:
        if self._failure is not None:
            call.fail(self._broken(self._failure))
        elif not call.future.cancel():
            call.fail(call_killed(call))
        else:
            call.begin()

    def _let_go(self) -> None:
        if self._lease is not None:
            self._lease.close()
            try:
                self._store.remove_all()
            except OSError as error:
                _log.warning("%s can't be removed: %s", self._store.url, error)
        self._api.close()
