"""The base class of executors, with an executor on it that runs calls one by one when it is told to."""

from __future__ import annotations

import concurrent.futures
import threading
from concurrent.futures import BrokenExecutor

import pytest

from amltk.remote import RemoteCall, run_call
from amltk.remote.executor import RemoteExecutor


class ByHand(RemoteExecutor[RemoteCall]):
    def __init__(self) -> None:
        super().__init__(RemoteCall)
        self.requested = 0
        self.full = False

    def _enqueue(self, call: RemoteCall) -> None:
        if self.full:
            raise MemoryError
        super()._enqueue(call)

    def _request_dispatch(self) -> None:
        self.requested += 1

    def take(self) -> RemoteCall | None:
        return self._take()

    def run(self) -> None:
        while (call := self._take()) is not None:
            call.settle(run_call(call.data))

    def put_back(self, call: RemoteCall) -> None:
        self._waiting.appendleft(call)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        self._stop_accepting(cancel_futures=cancel_futures)
        if wait:
            self.run()

    def fail(self, cause: BaseException, *begun: RemoteCall) -> None:
        self._break(cause, *begun)


class Unsendable:
    def __reduce__(self) -> str:
        msg = "stays here"
        raise TypeError(msg)


def test_calls_begin_in_the_order_of_their_submission() -> None:
    executor = ByHand()
    futures = [executor.submit(abs, -number) for number in range(3)]
    assert executor.requested == 3
    taken = [executor.take() for _ in futures]
    assert [call.args for call in taken if call is not None] == [(0,), (-1,), (-2,)]
    assert all(future.running() for future in futures)
    assert executor.take() is None


def test_a_call_that_was_cancelled_is_not_taken() -> None:
    executor = ByHand()
    first, second = executor.submit(abs, -1), executor.submit(abs, -2)
    assert first.cancel()
    executor.run()
    assert second.result(0) == 2
    assert concurrent.futures.wait([first, second], 0).not_done == set()


def test_what_cannot_be_pickled_fails_the_future_and_never_waits() -> None:
    executor = ByHand()
    future = executor.submit(print, Unsendable())
    assert "stays here" in str(future.exception(0))
    assert executor.requested == 0
    assert executor.take() is None


def test_a_submit_that_fails_leaves_nothing() -> None:
    executor = ByHand()
    executor.full = True
    with pytest.raises(MemoryError):
        executor.submit(abs, -1)
    assert executor.take() is None
    assert executor.requested == 0


def test_an_executor_that_was_shut_down_takes_no_more_and_runs_what_it_has() -> None:
    executor = ByHand()
    future = executor.submit(abs, -1)
    executor.shutdown()
    assert future.result(0) == 1
    with pytest.raises(RuntimeError, match="this ByHand was shut down; make a new one"):
        executor.submit(abs, -1)


def test_cancelling_at_the_shutdown_spares_what_has_begun() -> None:
    executor = ByHand()
    begun, waiting, cancelled = (executor.submit(abs, number) for number in (-1, -2, -3))
    cancelled.cancel()
    call = executor.take()
    assert call is not None
    executor.put_back(call)
    waits = threading.Thread(target=concurrent.futures.wait, args=[[waiting, cancelled]])
    waits.start()
    executor.shutdown(wait=False, cancel_futures=True)
    waits.join(10)
    assert not waits.is_alive()
    assert waiting.cancelled()
    executor.run()
    assert begun.result(0) == 1


def test_a_broken_executor_fails_each_call_once_and_takes_no_more() -> None:
    executor = ByHand()
    futures = [executor.submit(abs, -number) for number in range(3)]
    futures[2].cancel()
    call = executor.take()
    assert call is not None
    cause = ValueError("no worker starts")
    executor.fail(cause, call)
    executor.fail(OSError("something else"))
    for future in futures[:2]:
        with pytest.raises(BrokenExecutor, match="ValueError: no worker starts") as info:
            future.result(0)
        assert info.value.__cause__ is cause
    assert futures[2].cancelled()
    with pytest.raises(BrokenExecutor, match="ValueError: no worker starts"):
        executor.submit(abs, -1)
