"""Group F: size."""

from __future__ import annotations

import random
import time
from collections.abc import Callable

import fault_calls as calls
import pytest
from fault_places import OWN, PLACES

from amltk_testing import ManualExecutor

MY_EXECUTOR = next(place for place in PLACES if place.own)
BATCH = 500
"""So many calls a callback submits, or ends, before the loop gets its turn."""


def cost(case, number: int, finish: Callable[[], object] = list) -> float:
    """Return how many seconds of this process's processors a call costs; what else the machine does counts for little.

    Args:
        case: Where they run.
        number: How many there are.
        finish: Called when all are submitted.
    """

    def submit(begun: int = 0) -> None:
        for n in range(begun, begun + BATCH):
            case.scheduler.submit(calls.healthy, n)
        if begun + BATCH < number:
            case.scheduler.call_later(0, submit, begun + BATCH)
        else:
            finish()

    case.at_start(submit)
    before = time.process_time()
    case.run()
    return (time.process_time() - before) / number


def look_whether_it_grows(cost_of: Callable[[int], float], few: int, many: int) -> None:
    """Fail if a call costs three times as much, or more, among ten times as many calls, or more.

    What grows does so each time. What threads that wait for each other cost, or a busy machine adds, comes and goes.
    """
    low, high = 0.0, float("inf")
    for _ in range(5):
        low, high = max(low, cost_of(few)), min(high, cost_of(many))
        if high < 3 * low:
            return
    pytest.fail(f"{low * 1e6:.0f} us a call, and {high * 1e6:.0f} where there are more")


def test_f1_large_arguments_from_an_iterator(case):
    task = case.task(len)
    window = 4
    taken = 0

    def arguments():
        nonlocal taken
        for _ in range(100_000):
            taken += 1
            yield bytes(1_000_000)

    def look(*_: object) -> None:
        ended = len(case.ended(task))
        assert taken <= ended + window
        if ended == 100:
            case.scheduler.stop()

    case.at_start(lambda: task.map(arguments(), buffersize=window))
    task.on_done(look)
    case.run(on_exception="raise")
    assert ("result", 1_000_000) in case.ended(task)


def test_f2_many_calls(case):
    slower = {"executor": 5_000, "loky": 5_000, "dask": 400, "ray": 1_000}
    number = slower.get(case.place.name, 20_000)
    look_whether_it_grows(lambda calls: cost(case, calls), number // 10, number)


@pytest.mark.parametrize("place", [MY_EXECUTOR], ids=[OWN])  # the order is the test's, wherever calls would run
def test_f2_in_any_order(case):
    def cost_in_any_order(number: int) -> float:
        executor = ManualExecutor()
        case.open(executor)
        order = random.Random(number).sample(range(number), number)

        def finish() -> None:
            for n in order[-BATCH:]:
                executor.finish(n)
            del order[-BATCH:]
            if order:
                case.scheduler.call_later(0, finish)

        return cost(case, number, finish)

    look_whether_it_grows(cost_in_any_order, 5_000, 100_000)
    case.open()
