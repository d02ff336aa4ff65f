"""SequentialExecutor by itself: with and without an event loop."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from concurrent.futures import CancelledError, Executor, as_completed, wait

import pytest

from amltk import Scheduler
from amltk.scheduling import SequentialExecutor


@pytest.fixture
def executor():
    return SequentialExecutor()


def fail(error):
    raise error


# Without a loop


def test_without_a_loop_a_call_is_done_when_submit_returns(executor):
    future = executor.submit(round, 2.567, ndigits=1)
    assert future.done()
    assert future.result() == 2.6
    assert isinstance(executor, Executor)


def test_calls_run_in_this_thread_in_the_order_of_submission(executor):
    seen = []
    for number in range(5):
        executor.submit(lambda number=number: seen.append((number, threading.get_ident())))
    assert seen == [(number, threading.get_ident()) for number in range(5)]


def test_the_standard_tools_work(executor):
    with executor:
        assert list(executor.map(abs, [-1, -2, -3])) == [1, 2, 3]
        futures = [executor.submit(abs, -number) for number in range(3)]
        assert {future.result() for future in as_completed(futures)} == {0, 1, 2}
        assert not wait(futures).not_done


def test_a_call_may_submit_another(executor):
    assert executor.submit(lambda: executor.submit(abs, -1).result()).result() == 1


# With a loop


def test_in_a_loop_a_call_waits_for_its_turn(executor):
    async def main():
        future = executor.submit(abs, -1)
        assert not future.done()
        assert await asyncio.wrap_future(future) == 1

    asyncio.run(main())


def test_the_loop_gets_a_turn_between_two_calls(executor):
    order = []

    async def main():
        loop = asyncio.get_running_loop()

        def call(number):
            order.append(f"call {number}")
            loop.call_soon(order.append, f"turn {number}")

        futures = [executor.submit(call, number) for number in range(3)]
        await asyncio.gather(*map(asyncio.wrap_future, futures))

    asyncio.run(main())
    assert order == ["call 0", "turn 0", "call 1", "turn 1", "call 2", "turn 2"]


def test_in_a_loop_a_failing_call_stops_nothing(executor):
    async def main():
        errors = [ValueError("x"), SystemExit(3), KeyboardInterrupt(), asyncio.CancelledError()]
        futures = [executor.submit(fail, error) for error in errors]
        last = executor.submit(abs, -1)
        assert await asyncio.wrap_future(last) == 1
        assert [future.exception() for future in futures] == errors

    asyncio.run(main())


def test_a_call_that_waits_can_be_cancelled(executor):
    seen = []

    async def main():
        first, second, third = (executor.submit(seen.append, number) for number in range(3))
        assert second.cancel()
        await asyncio.wrap_future(third)
        assert first.done()
        with pytest.raises(CancelledError):
            second.result()

    asyncio.run(main())
    assert seen == [0, 2]


def test_what_a_loop_left_behind_runs_before_the_next_call(executor):
    seen = []

    async def main():
        executor.submit(seen.append, "left behind")

    asyncio.run(main())
    executor.submit(seen.append, "next")
    assert seen == ["left behind", "next"]


def test_a_chain_of_10_000_calls_is_no_recursion(executor):
    async def main():
        loop = asyncio.get_running_loop()
        end = loop.create_future()

        def submit_next(future):
            if future.result() == 10_000:
                end.set_result(True)
            else:
                executor.submit(lambda: future.result() + 1).add_done_callback(submit_next)

        executor.submit(int).add_done_callback(submit_next)
        assert await end

    asyncio.run(main())


# Shutting down


def test_after_shutdown_it_takes_no_calls(executor):
    executor.shutdown()
    with pytest.raises(RuntimeError, match="was shut down and takes no more calls"):
        executor.submit(print)
    executor.shutdown()  # twice is once


def test_shutdown_runs_what_waits(executor):
    seen = []

    async def main():
        future = executor.submit(seen.append, 1)
        executor.shutdown()
        assert future.done()
        await asyncio.sleep(0)

    asyncio.run(main())
    assert seen == [1]


@pytest.mark.parametrize("waiting", [True, False])
def test_shutdown_cancels_what_waits_if_told_to(executor, waiting):
    seen = []

    async def main():
        future = executor.submit(seen.append, 1)
        executor.shutdown(wait=waiting, cancel_futures=True)
        assert future.cancelled()
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    asyncio.run(main())
    assert seen == []


def test_shutdown_without_waiting_lets_the_loop_do_what_is_left(executor):
    async def main():
        futures = [executor.submit(abs, -number) for number in range(3)]
        executor.shutdown(wait=False)
        assert not futures[0].done()
        assert await asyncio.gather(*map(asyncio.wrap_future, futures)) == [0, 1, 2]

    asyncio.run(main())


# As a backend


@pytest.mark.parametrize(("args", "options"), [((2,), {}), ((), {"max_workers": 2})])
def test_the_backend_has_no_options(args, options):
    with pytest.raises(TypeError, match=r"Its options are: none\.$"):
        Scheduler.with_sequential(*args, **options)


def test_the_plugin_loads_no_event_loop():
    code = "import sys, amltk_sequential.plugin; sys.exit('asyncio' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=30)
