"""Signals whose handlers raise at any moment, and `sys.exit` anywhere: the run is torn, but settled."""

from __future__ import annotations

import asyncio
import gc
import random
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from types import FrameType
from typing import NoReturn

import pytest

from amltk import Scheduler
from amltk.user_code import is_user_code

ROUNDS = 100


class Torn(BaseException):
    """What the handler of a signal raises."""


class TornError(Exception):
    """Likewise; the loop would log it, and go on."""


@pytest.fixture(autouse=True)
def _handlers() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in (signal.SIGALRM, signal.SIGTERM, signal.SIGINT)}
    # Those of Hypothesis, once it has run: what a handler raises in one of them, Python itself drops.
    collecting, gc.callbacks[:] = list(gc.callbacks), []
    yield
    signal.setitimer(signal.ITIMER_REAL, 0)
    gc.callbacks[:] = collecting
    for number, handler in before.items():
        signal.signal(number, handler)


def raising(kind: type[BaseException]) -> list[float]:
    """Have SIGALRM raise; return a list of the times at which it has."""
    raised: list[float] = []

    def handle(_number: int, _frame: FrameType | None) -> NoReturn:
        raised.append(time.monotonic())
        raise kind

    signal.signal(signal.SIGALRM, handle)
    return raised


class Watched:
    """A scheduler, and what has happened to it."""

    def __init__(self, backend: str = "sequential") -> None:
        self.scheduler = Scheduler.with_backend(backend)
        self.task = self.scheduler.task(int)
        self.left = 30
        self.scheduler.on_start(self.submit)
        self.scheduler.on_future_done(self.submit)

    def submit(self, *_: object) -> None:
        if self.left and (self.scheduler.current_run is not None and self.scheduler.current_run.accepting):
            self.left -= 1
            self.task()

    def is_settled(self) -> None:
        events = self.task.event_counts
        ended = events["on_done"] + events["on_cancelled"]
        assert not self.scheduler.running()
        assert self.scheduler.queue == ()
        assert self.task.n_running == 0
        assert events["on_submitted"] == ended == self.task.n_submitted
        counts = self.scheduler.event_counts  # not those of callbacks: the signal may come in one of these
        assert counts["on_start"] == counts["on_finishing"] == counts["on_finished"]


# What a signal tears after the run, while its loop is closed, may be a coroutine that is made and not begun.
@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited:RuntimeWarning")
@pytest.mark.parametrize("kind", [Torn, TornError, SystemExit, KeyboardInterrupt])
@pytest.mark.parametrize("backend", ["sequential", "threads"])
def test_a_handler_that_raises_at_any_moment(backend: str, kind: type[BaseException]) -> None:
    handled = raising(kind)
    watched = Watched(backend)
    raised = 0
    for number in range(ROUNDS):
        watched.left = 30
        handled.clear()
        try:
            signal.setitimer(signal.ITIMER_REAL, 0.0001 + random.Random(number).random() * 0.01)
            watched.scheduler.run(on_exception="raise", timeout=60)
            while not handled:  # the run is over: the signal comes here. The timer may end before it is handled.
                time.sleep(0.001)
        except (kind, BaseExceptionGroup):
            raised += 1
        watched.is_settled()
    assert raised > ROUNDS / 2
    watched.left = 3
    watched.scheduler.run(timeout=60)
    watched.is_settled()


def test_nothing_that_a_loop_does_is_the_users_code() -> None:
    """Not methods of named tuples, which selectors make, and which have no file; nor what the collector calls."""
    seen: list[str] = []
    users: list[str] = []

    def in_loop(frame: FrameType | None) -> bool:
        return frame is not None and (frame.f_globals["__name__"].startswith("asyncio.") or in_loop(frame.f_back))

    def look(frame: FrameType, event: str, _: object) -> None:
        if event == "call" and in_loop(frame) and frame.f_back is not None and frame.f_back.f_code.co_name != "_run":
            seen.append(frame.f_code.co_filename)
            if is_user_code(frame):
                users.append(f"{frame.f_code.co_qualname} in {frame.f_code.co_filename}")

    def collected(*_: object) -> None:
        pass

    gc.callbacks.append(collected)
    threshold = gc.get_threshold()
    gc.set_threshold(1)
    sys.setprofile(look)
    try:
        loop = asyncio.new_event_loop()
        loop.run_until_complete(asyncio.sleep(0.001))
        loop.close()
    finally:
        sys.setprofile(None)
        gc.set_threshold(*threshold)
        gc.callbacks.remove(collected)
    assert {"<string>", __file__} <= set(seen)
    assert users == []


def test_ctrl_c_at_any_moment_once_and_twice() -> None:
    watched = Watched("threads")
    signal.signal(signal.SIGINT, signal.default_int_handler)
    presses = 0

    def press(*_: object) -> None:
        nonlocal presses
        if presses and watched.scheduler.running():
            presses -= 1
            signal.raise_signal(signal.SIGINT)

    signal.signal(signal.SIGALRM, press)
    interrupted = 0
    for number in range(ROUNDS):
        watched.left = 30
        presses = 1 + number % 2
        signal.setitimer(signal.ITIMER_REAL, 0.0001 + random.Random(number).random() * 0.01, 0.0003)
        try:
            watched.scheduler.run(timeout=60)
        except KeyboardInterrupt:
            interrupted += 1
        signal.setitimer(signal.ITIMER_REAL, 0)
        watched.is_settled()
    assert interrupted


@pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt, Torn])
@pytest.mark.parametrize("event", ["on_start", "on_future_result", "on_finishing"])
def test_an_async_callback_that_raises_what_ends_programs(event: str, kind: type[BaseException]) -> None:
    watched = Watched()

    async def leave(*_: object) -> NoReturn:
        await asyncio.sleep(0)
        raise kind

    watched.scheduler.on(event, leave, limit=1)
    with pytest.raises(kind):
        watched.scheduler.run(timeout=60)
    watched.is_settled()
    watched.left = 3
    watched.scheduler.run(timeout=60)
    watched.is_settled()


@pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt])
def test_a_task_of_the_loop_that_raises_what_ends_programs(kind: type[BaseException]) -> None:
    watched = Watched()
    tasks: list[asyncio.Task[None]] = []

    async def leave() -> NoReturn:
        raise kind

    watched.scheduler.on_start(lambda: tasks.append(asyncio.get_running_loop().create_task(leave())))
    with pytest.raises(kind):
        watched.scheduler.run(timeout=60)
    watched.is_settled()


def test_the_handler_of_a_run_in_the_loop_of_the_program() -> None:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))
    scheduler = Scheduler.with_threads(1)
    seen: list[str] = []
    scheduler.on_finishing(lambda: seen.append("finishing"))
    scheduler.on_finished(lambda: seen.append("finished"))
    scheduler.on_start(lambda: scheduler.call_later(60, int))

    async def main() -> None:
        asyncio.get_running_loop().call_later(0.01, signal.raise_signal, signal.SIGTERM)
        await scheduler.async_run(timeout=60)

    with pytest.raises(SystemExit) as caught:
        asyncio.run(main())
    assert caught.value.code == 7
    assert seen == ["finishing", "finished"]
    assert not scheduler.running()


def test_the_loop_of_the_program_ends_all_its_tasks() -> None:
    watched = Watched()

    async def main() -> None:
        watched.scheduler.on_start(lambda: watched.scheduler.call_later(60, int))
        run = asyncio.get_running_loop().create_task(watched.scheduler.async_run())
        await asyncio.sleep(0.01)
        del run

    asyncio.run(main())
    watched.is_settled()
    assert watched.scheduler.event_counts["on_finished"] == 1


def test_an_alarm_reaches_the_call_and_the_callback_that_set_it() -> None:
    scheduler = Scheduler.with_sequential()
    raising(TimeoutError)

    def slow() -> str:
        signal.setitimer(signal.ITIMER_REAL, 0.01)
        try:
            time.sleep(30)
        except TimeoutError:
            return "in time"
        return "late"

    said: list[str] = []
    scheduler.on_start(lambda: said.append(slow()))
    scheduler.on_start(lambda: scheduler.submit(slow))
    scheduler.on_future_result(lambda _, result: said.append(result))
    scheduler.run(timeout=60)
    assert said == ["in time", "in time"]


def test_handlers_are_as_before_after_a_run_and_those_set_in_it_stay() -> None:
    def mine(*_: object) -> None: ...

    def set_meanwhile(*_: object) -> None: ...

    signal.signal(signal.SIGTERM, mine)
    signal.signal(signal.SIGALRM, mine)
    scheduler = Scheduler.with_sequential()
    scheduler.on_start(lambda: signal.signal(signal.SIGALRM, set_meanwhile))
    scheduler.run()
    assert signal.getsignal(signal.SIGTERM) is mine
    assert signal.getsignal(signal.SIGALRM) is set_meanwhile


def test_a_program_that_is_told_to_go_leaves_with_its_code_after_the_events() -> None:
    script = """
        import os, signal, sys, time
        from amltk import Scheduler

        signal.signal(signal.SIGTERM, lambda *_: sys.exit(5))
        scheduler = Scheduler.with_threads(2)
        scheduler.on_start(lambda: scheduler.call_later(60, int))
        scheduler.on_start(lambda: scheduler.submit(os.kill, os.getpid(), signal.SIGTERM))
        scheduler.on_finishing(lambda: print("finishing"))
        scheduler.on_finished(lambda: print("finished"))
        scheduler.run()
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (5, "finishing\nfinished\n"), done.stderr


@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.parametrize("what", ["closed", "killed"])
def test_an_executor_that_ends_later_than_its_limit(
    what: str, fails: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """What its thread would raise for a closed loop, pytest makes an error of the test."""
    monkeypatch.setattr("amltk.scheduling.executor_source.CLOSE_SECONDS", 0.01)
    may_end = threading.Event()

    def take_long(*_: object, **__: object) -> None:
        may_end.wait(60)
        if fails:
            raise RuntimeError

    scheduler = Scheduler.with_threads(1)
    source = scheduler._source
    if what == "closed":
        monkeypatch.setattr(ThreadPoolExecutor, "shutdown", take_long)
        scheduler.run()
    else:
        object.__setattr__(source, "kill", take_long)
        scheduler.on_start(lambda: scheduler.submit(may_end.wait, 60))
        scheduler.on_start(scheduler.stop)
        scheduler.run(wait=False)
    assert f"could not be {what} within" in caplog.text
    late = [thread for thread in threading.enumerate() if f"is being {what}" in thread.name]
    may_end.set()
    for thread in late:
        thread.join(60)
    assert len(late) == 1
