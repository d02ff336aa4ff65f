"""Group E: start, stop, interrupt."""

from __future__ import annotations

import asyncio
import io
import logging
import os
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import fault_calls as calls
import pytest
from fault_case import comes_true, gone

from amltk.exceptions import WrongThreadError
from amltk.scheduling import ExitState
from amltk_processes import ProcessPoolExecutor as AmltkPool

Code = ExitState.Code


@pytest.fixture
def thread():
    """Call something in another thread, which is waited for at the end."""
    begun = []

    def start(function, *args):
        other = threading.Thread(target=function, args=args)
        begun.append(other)
        other.start()
        return other

    yield start
    for each in begun:
        each.join()


def long_call(case):
    """Submit a call that waits for the gate; it is opened when the test has seen what it wants to see."""
    task = case.task(calls.wait_for)
    case.at_start(lambda: task(case.gate, case.began))
    return task


def test_e1_twice(case):
    task = case.task(calls.double)
    for n in (1, 2):
        case.at_start(lambda n=n: task(n))
        assert case.run().code is Code.EXHAUSTED
    assert case.results(task) == [2, 4]


def test_e2_twice_until_the_timeout(case):
    for _ in range(2):
        began = time.monotonic()
        assert case.run(timeout=0.1, end_on_empty=False).code is Code.TIMEOUT
        assert time.monotonic() - began >= 0.1


def test_e4_stop_from_another_thread(case, thread):
    case.at_start(lambda: case.scheduler.call_later(0.02, thread, case.scheduler.stop))
    began = time.monotonic()
    assert case.run(end_on_empty=False).code is Code.STOPPED
    assert time.monotonic() - began < 5


def test_e5_submit_from_another_thread(case, thread):
    task = case.task(calls.note_pid)
    errors = []

    def intrude() -> None:
        try:
            task(case.folder)
        except WrongThreadError as error:
            errors.append(error)
        case.scheduler.call_later(0, case.scheduler.stop)

    case.at_start(lambda: thread(intrude))
    case.run(end_on_empty=False)
    assert "call_later" in str(errors[0])
    assert case.ended(task) == []
    assert not (case.folder / "pid").exists()


def test_e6_inside_of_a_running_loop(case):
    task = case.task(calls.double)
    case.at_start(lambda: task(1))

    async def main() -> None:
        case.run()

    asyncio.run(main())
    assert case.results(task) == [2]


def test_e7_ctrl_c(case, thread, until):
    task = long_call(case)
    others = case.task(calls.double)
    case.at_start(lambda: [others(n) for n in range(3)])

    def press() -> None:
        until(case.began.exists)
        case.asks_to_end()
        os.kill(os.getpid(), signal.SIGINT)

    threads = threading.active_count()
    case.at_start(lambda: thread(press))
    with pytest.raises(KeyboardInterrupt):
        case.run(wait=True)
    case.open_gate()
    until(lambda: threading.active_count() <= threads + 1)  # of threads, only the calls can end it
    assert "result" not in dict(case.ended(task))


def test_e9_the_task_of_async_run_is_cancelled(case, until):
    threads = threading.active_count()

    async def main() -> None:
        run = asyncio.get_running_loop().create_task(case.async_run(end_on_empty=False))
        await comes_true(case.began.exists if meanwhile else case.scheduler.running)
        case.asks_to_end()
        run.cancel()
        await run

    meanwhile = "blocks_the_run" not in case.place.has
    if meanwhile:
        long_call(case)
    with pytest.raises(asyncio.CancelledError):
        asyncio.run(main())
    case.open_gate()
    until(lambda: threading.active_count() <= threads)


def test_e10_the_call_ignores_sigterm(case, until):
    task = case.task(calls.ignore_sigterm)
    case.at_start(lambda: task(case.folder))
    case.at_start(lambda: case.when_there(case.folder / "pid", case.scheduler.stop))
    assert case.run(wait=False).code is Code.STOPPED
    assert case.ended(task) == [("cancelled", None)]
    gone({case.pid()}, until)


def test_e11_the_call_has_children_and_grandchildren(case, until):
    task = case.task(calls.have_family)

    def family() -> set[int]:
        return {int(path.name.removeprefix("of-")) for path in case.folder.glob("of-*")}

    def stop_when_complete() -> None:
        if len(family()) == 4:
            case.scheduler.stop()
        else:
            case.scheduler.call_later(0.01, stop_when_complete)

    case.at_start(lambda: task(case.folder))
    case.at_start(stop_when_complete)
    case.run(wait=False)
    assert case.ended(task) == [("cancelled", None)]
    gone(family(), until)


def test_e12_nothing_can_stop_the_call(case, until, caplog):
    task = long_call(case)
    threads = threading.active_count()
    case.at_start(lambda: case.when_there(case.began, case.scheduler.stop))
    case.run(wait=False)
    assert case.ended(task) == [("cancelled", None)]
    assert "wait_for" in caplog.text
    case.open_gate()
    until(lambda: threading.active_count() <= threads)


def test_e13_timeout_where_calls_block_the_run(case):
    task = case.task(time.sleep)
    case.at_start(lambda: [task(0.3), task(0.31)])
    assert case.run(timeout=0.1).code is Code.TIMEOUT
    assert sorted(how for how, _ in case.ended(task)) == ["cancelled", "result"]


def test_e14_other_work_of_the_loop_goes_on(case):
    task = long_call(case)
    case.at_start(lambda: case.when_there(case.began, case.scheduler.stop))
    stopped = []
    case.scheduler.on_stop(lambda *_: stopped.append(True))

    async def main() -> None:
        run = asyncio.get_running_loop().create_task(case.async_run())
        await comes_true(lambda: stopped)
        for _ in range(5):
            await asyncio.sleep(0.002)
        case.open_gate()  # without which the run does not end
        await run

    asyncio.run(main())
    assert case.results(task) == ["told to return"]


def test_e15_the_program_is_killed(case, until):
    code = f"""
        import os, pathlib, time
        from amltk import Scheduler

        def work(n):
            part = pathlib.Path({str(case.folder)!r}) / "part"
            part.write_text(str(os.getpid()))
            part.rename(part.parent / "pid")
            time.sleep(60)

        scheduler = Scheduler.with_backend(NAME, **OPTIONS)
        scheduler.on_start(lambda: scheduler.submit(work, 1))
        scheduler.run()
        """
    with case.program(code) as program:
        try:
            until((case.folder / "pid").exists)
        finally:
            program.kill()
    gone({case.pid()}, until)


def test_e17_threads_before_the_first_worker(case, thread):
    task = case.task(calls.log_something)
    over = threading.Event()
    handler = logging.StreamHandler(io.StringIO())
    logger = logging.getLogger("fault_calls")
    logger.addHandler(handler)

    def hold_locks() -> None:
        while not over.is_set():
            with handler.lock:
                over.wait(0.01)

    others = [thread(hold_locks) for _ in range(3)]
    case.at_start(lambda: [task(n) for n in range(10)])
    case.run()
    over.set()
    for other in others:
        other.join()
    logger.removeHandler(handler)
    assert sorted(case.results(task)) == list(range(10))


def test_e18_the_executor_is_yours(case):
    task = case.task(calls.double)
    case.at_start(lambda: task(1))
    case.run()
    assert case.scheduler.executor_label == "ProcessPoolExecutor"
    assert case._executor.submit(calls.double, 2).result(30) == 4


def test_e18_a_pool_of_ours_with_a_call_that_is_ended(case):
    with AmltkPool(2) as executor:
        case.open(executor)
        task = long_call(case)
        case.at_start(lambda: case.when_there(case.began, case.scheduler.stop))
        case.run(wait=False)
        assert case.ended(task) == [("cancelled", None)]
        assert executor.submit(calls.double, 2).result(30) == 4
    case.open()


def test_e18_threads_of_yours_with_a_call_that_runs_on(case, until):
    with ThreadPoolExecutor(2) as executor:
        case.open(executor)
        task = long_call(case)
        case.at_start(lambda: case.when_there(case.began, case.scheduler.stop))
        case.run(wait=False)
        assert case.ended(task) == [("cancelled", None)]
        assert executor.submit(os.getpid).result(30) == os.getpid()
        case.open_gate()
    case.open()
