"""The base class of executors whose calls run in other processes: it accepts and queues calls.

    submit ──> pickled ──> waiting ──> _take() ──> the subclass has a worker run the call, and settles it
                              │
                              └──> cancelled by shutdown(cancel_futures=True), or failed by _break(cause)

Calls wait in the program until a worker is free, so `cancel()` knows which have begun.
"""

from __future__ import annotations

import collections
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Executor, Future
from typing import Any, Generic, ParamSpec, TypeVar

from amltk.backend import ExecutionFuture
from amltk.remote.calls import RemoteCall, dump_call
from amltk.remote.worker_errors import executor_broken

P = ParamSpec("P")
T = TypeVar("T")
C = TypeVar("C", bound=RemoteCall)

MakeCall = Callable[[ExecutionFuture[Any], Callable[..., Any], tuple[Any, ...], Mapping[str, Any], bytes], C]


class RemoteExecutor(Executor, Generic[C]):
    """An executor whose calls wait here until a worker can run them.

    A subclass defines `_request_dispatch`, takes calls with `_take`, and settles each call that it took. Its `shutdown`
    begins with `_stop_accepting`.

    Attributes:
        _changed: Guards the other attributes; notified when calls end, and at the shutdown.
        _waiting: The calls that wait, in the order in which they begin. Only `_enqueue` and `_take` decide it.
        _closed: Whether the executor was shut down.
        _failure: Why the executor is broken; None while it works.
    """

    def __init__(self, make_call: MakeCall[C]) -> None:
        """Start without calls.

        Args:
            make_call: Makes a call from a future, a function, its arguments, and the pickled call.
        """
        self._make_call = make_call
        self._changed = threading.Condition()
        self._waiting: collections.deque[C] = collections.deque()
        self._closed = False
        self._failure: BaseException | None = None

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Call `fn(*args, **kwargs)` in a worker.

        If a part of the call can't be pickled, the future fails with an error that names the part.

        Raises:
            RuntimeError: The executor was shut down.
            BrokenExecutor: The executor is broken; the error's cause tells why.
            BatchSystemError: The executor is broken, and a batch system has reported why.
        """
        future: ExecutionFuture[T] = ExecutionFuture()
        self._check_open()
        try:
            call = self._make_call(future, fn, args, kwargs, dump_call(fn, args, kwargs))
        except (Exception, SystemExit) as error:
            future.set_running_or_notify_cancel()
            future.set_exception(error)
            return future
        with self._changed:
            self._check_open()
            self._enqueue(call)
        self._request_dispatch()
        return future

    def _check_open(self) -> None:
        if self._failure is not None:
            raise self._broken(self._failure)
        if self._closed:
            name = type(self).__name__
            msg = f"cannot schedule new futures after shutdown: this {name} was shut down; make a new one."
            raise RuntimeError(msg)

    def _broken(self, cause: BaseException) -> BaseException:
        """Return the error of a call that this broken executor has or is given."""
        return executor_broken(cause)

    def _enqueue(self, call: C) -> None:
        """Queue an accepted call; `_changed` is held. If this raises, the call is not accepted."""
        self._waiting.append(call)

    def _request_dispatch(self) -> None:
        """Start giving waiting calls to free workers; called after each submission."""
        raise NotImplementedError

    def _take(self) -> C | None:
        """Take the next call that is not cancelled from the queue, and mark it as running; None if there is none."""
        with self._changed:
            while self._waiting:
                call = self._waiting.popleft()
                if call.begin():
                    return call
        return None

    def _stop_accepting(self, *, cancel_futures: bool) -> None:
        """Accept no more calls.

        Args:
            cancel_futures: Cancel the calls that wait, except those that had begun and were put back.
        """
        with self._changed:
            self._closed = True
            cancelled = [call for call in self._waiting if not call.future.running()] if cancel_futures else []
            if cancelled:
                begun = [call for call in self._waiting if call.future.running()]
                self._waiting.clear()
                self._waiting.extend(begun)
            self._changed.notify_all()
        for call in cancelled:
            call.future.cancel()
            call.begin()  # wakes `concurrent.futures.wait`

    def _break(self, cause: BaseException, *begun: C) -> None:
        """Accept no more calls, and fail those that have not ended.

        Args:
            cause: Why the executor is broken.
            begun: The calls that have left the queue.
        """
        with self._changed:
            self._failure = self._failure or cause
            waiting = list(self._waiting)
            self._waiting.clear()
        for call in (*begun, *waiting):
            call.fail(self._broken(self._failure))
