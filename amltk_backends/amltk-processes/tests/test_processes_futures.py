"""Futures that are lighter than the standard ones, and otherwise the same."""

from __future__ import annotations

import threading
from concurrent.futures import CancelledError, Future, as_completed, wait

import pytest

from amltk_processes._call import PoolFuture


@pytest.fixture
def future() -> PoolFuture[int]:
    return PoolFuture(lambda: None, ends_running=True)


def waiting(future: Future[int], until) -> tuple[list[threading.Thread], list[object]]:
    """Start threads that wait for a future, and return when they all do."""
    outcomes: list[object] = []

    def wait_for_it() -> None:
        try:
            outcomes.append(future.result(30))
        except (CancelledError, ValueError) as error:
            outcomes.append(type(error))

    threads = [threading.Thread(target=wait_for_it) for _ in range(3)]
    for thread in threads:
        thread.start()
    condition = future._condition

    def all_wait() -> bool:
        with condition:
            return condition._waited_for is not None and len(condition._waited_for._waiters) == len(threads)

    until(all_wait)
    return threads, outcomes


def test_it_has_all_that_a_standard_future_has(future: PoolFuture[int]) -> None:
    own = vars(future).copy()
    for name, value in vars(Future()).items():
        if name != "_condition":
            assert own[name] == value, name


@pytest.mark.parametrize(
    ("end", "outcome"),
    [
        (lambda future: future.set_result(3), 3),
        (lambda future: future.set_exception(ValueError()), ValueError),
        (lambda future: future.cancel(), CancelledError),
    ],
)
def test_all_threads_that_wait_for_it_are_woken(future: PoolFuture[int], until, end, outcome: object) -> None:
    threads, outcomes = waiting(future, until)
    end(future)
    for thread in threads:
        thread.join(30)
    assert outcomes == [outcome] * len(threads)


def test_who_waits_too_short_hears_so_and_may_wait_again(future: PoolFuture[int]) -> None:
    with pytest.raises(TimeoutError):
        future.result(0.001)
    with pytest.raises(TimeoutError):
        future.exception(0.001)
    future.set_result(3)
    assert future.result(0) == 3
    assert future.exception(0) is None


def test_it_can_be_waited_for_with_others(future: PoolFuture[int]) -> None:
    other: Future[int] = Future()
    timer = threading.Timer(0.01, lambda: [each.set_result(n) for n, each in enumerate((future, other))])
    timer.start()
    assert wait([future, other], timeout=30).not_done == set()
    assert [each.result() for each in as_completed([other, future])] in ([0, 1], [1, 0])
    timer.join()
