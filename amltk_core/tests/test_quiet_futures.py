"""Executors whose futures never say `running()`: what may run is waited for."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from typing import Any

import pytest

from amltk import ExitState, Scheduler


class QuietExecutor(Executor):
    """Runs calls in threads, and says nothing of that until they have ended, as that of a dask client does."""

    def __init__(self, workers: int = 1) -> None:
        self._pool = ThreadPoolExecutor(workers)

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        quiet: Future[Any] = Future()

        def work() -> None:
            if quiet.cancelled():
                return
            result = fn(*args, **kwargs)
            if not quiet.cancelled():
                quiet.set_result(result)

        self._pool.submit(work)
        return quiet

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        self._pool.shutdown(wait, cancel_futures=cancel_futures)


@pytest.mark.parametrize("how", ["timeout", "stop", "error"])
def test_what_may_run_is_waited_for(how: str) -> None:
    go = threading.Event()
    with QuietExecutor() as executor:
        scheduler = Scheduler(executor)
        results: list[object] = []
        cancelled: list[object] = []
        scheduler.on_future_result(lambda _, result: results.append(result))
        scheduler.on_future_cancelled(cancelled.append)
        scheduler.on_start(lambda: [scheduler.submit(go.wait, 60) for _ in range(2)])
        scheduler.on_timeout(go.set)
        if how == "stop":
            scheduler.on_start(scheduler.stop)
            scheduler.on_stop(lambda *_: go.set())
        elif how == "error":
            scheduler.on_start(lambda: scheduler.call_later(0, lambda: [go.set(), 1 / 0]))
        state = scheduler.run(timeout=0.01 if how == "timeout" else 60, on_exception="end")
    codes = {"timeout": ExitState.Code.TIMEOUT, "stop": ExitState.Code.STOPPED, "error": ExitState.Code.EXCEPTION}
    assert state.code is codes[how]
    assert (results, cancelled) == ([True, True], [])


def test_without_waiting_they_are_cancelled() -> None:
    go = threading.Event()
    with QuietExecutor() as executor:
        scheduler = Scheduler(executor)
        cancelled: list[object] = []
        scheduler.on_future_cancelled(cancelled.append)
        scheduler.on_start(lambda: scheduler.submit(go.wait, 60))
        scheduler.run(timeout=0.01, wait=False)
        assert len(cancelled) == 1
        go.set()


def test_ctrl_c_while_they_are_waited_for_cancels_them() -> None:
    go = threading.Event()
    with QuietExecutor() as executor:
        scheduler = Scheduler(executor)
        cancelled: list[object] = []
        scheduler.on_future_cancelled(cancelled.append)
        scheduler.on_start(lambda: scheduler.submit(go.wait, 60))
        scheduler.on_timeout(lambda: signal.raise_signal(signal.SIGINT))
        with pytest.raises(KeyboardInterrupt):
            scheduler.run(timeout=0.01)
        assert len(cancelled) == 1
        go.set()


def test_an_executor_that_tells_has_its_waiting_calls_cancelled() -> None:
    class OwnPool(ThreadPoolExecutor):
        pass

    go = threading.Event()
    with OwnPool(1) as executor:
        scheduler = Scheduler(executor)
        cancelled: list[object] = []
        scheduler.on_future_cancelled(cancelled.append)
        scheduler.on_start(lambda: [scheduler.submit(go.wait, 60) for _ in range(2)])
        scheduler.on_timeout(go.set)
        scheduler.run(timeout=0.01)
    assert len(cancelled) == 1
