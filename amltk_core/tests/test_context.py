"""Context variables that the program has set before a run."""

from __future__ import annotations

import asyncio
import threading
from contextvars import ContextVar

import pytest

from amltk import Scheduler

request = ContextVar("request", default="none")

OPTIONS = {"timeout": 20, "on_exception": "ignore", "end_on_empty": False}


def plainly(scheduler):
    scheduler.run(**OPTIONS)


def inside_of_a_loop(scheduler):
    async def main():
        scheduler.run(**OPTIONS)

    asyncio.run(main())


def in_the_loop(scheduler):
    asyncio.run(scheduler.async_run(**OPTIONS))


@pytest.fixture(autouse=True)
def program():
    token = request.set("the program's")
    yield
    request.reset(token)


def in_another_thread(function, *args):
    thread = threading.Thread(target=function, args=args)
    thread.start()
    thread.join()


@pytest.mark.parametrize("way", [plainly, inside_of_a_loop, in_the_loop])
@pytest.mark.parametrize("backend", ["threads", "sequential"])
def test_every_callback_sees_them(way, backend):
    scheduler = Scheduler.with_backend(backend)
    task = scheduler.task(int)
    seen = {}

    def note(name):
        def callback(*_):
            seen[name] = request.get()

        return callback

    async def awaited(*_):
        await asyncio.sleep(0)
        seen["awaited"] = request.get()

    for emitter in (scheduler, task):
        for event in emitter.events:
            emitter.on(event, note(str(event)))
    task.on_result(awaited)

    @scheduler.on_start
    def begin():
        task("1")
        task("not a number")

    @scheduler.on_empty(limit=1)
    def go_on():
        scheduler.call_later(0, note("call_later"))
        in_another_thread(scheduler.call_later, 0, note("call_later of a thread"))
        scheduler.call_later(0.01, in_another_thread, scheduler.stop)

    way(scheduler)
    assert set(seen.values()) == {"the program's"}, seen
    not_emitted = {"on_timeout", "on_cancelled", "on_future_cancelled"}
    emitted = {str(event) for emitter in (scheduler, task) for event in emitter.events} - not_emitted
    assert seen.keys() == emitted | {"awaited", "call_later", "call_later of a thread"}


def test_a_run_inside_of_a_loop_leaves_them_as_they_are(threads):
    scheduler = Scheduler(threads)
    scheduler.on_start(lambda: request.set("the callback's"))
    inside_of_a_loop_and_stopped = []

    async def main():
        scheduler.run()
        inside_of_a_loop_and_stopped.append(request.get())

    asyncio.run(main())
    assert inside_of_a_loop_and_stopped == ["the program's"]


def test_two_runs_at_a_time_have_their_own(threads):
    seen = []

    async def one(name):
        request.set(name)
        scheduler = Scheduler(threads)
        scheduler.on_start(lambda: scheduler.submit(abs, -1))
        scheduler.on_future_result(lambda *_: seen.append((name, request.get())))
        await scheduler.async_run()

    async def main():
        await asyncio.gather(one("first"), one("second"))

    asyncio.run(main())
    assert sorted(seen) == [("first", "first"), ("second", "second")]
