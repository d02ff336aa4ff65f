"""Functions that would have to be awaited: refused where that can be known, an error of the call where it can't."""

from __future__ import annotations

import asyncio
import functools
import gc
import warnings
from unittest.mock import AsyncMock

import cloudpickle
import pytest

from amltk import Scheduler, TaskPlugin
from amltk.backend import ExecutionFuture
from amltk.checks import check_callback, check_function
from amltk.remote import RemoteCall, dump_call, run_call


async def fetch(x=0):
    return x


async def numbers(x=0):
    yield x


class Client:
    async def fetch(self, x=0):
        return x

    @classmethod
    async def anew(cls, x=0):
        return x

    @staticmethod
    async def plainly(x=0):
        return x

    async def __call__(self, x=0):
        return x


class Partly:
    async def _fetch(self, x=0):
        return x

    __call__ = functools.partialmethod(_fetch)


def decorated(function):
    @functools.wraps(function)
    def wrapper(*args):
        return function(*args)

    return wrapper


def finished(function):
    @functools.wraps(function)
    def wrapper(*args):
        return asyncio.run(function(*args))

    return wrapper


PLAINLY_ASYNC = {
    "function": fetch,
    "async generator": numbers,
    "partial": functools.partial(fetch, 1),
    "partial of a partial's method": functools.partial(functools.partial(Client().fetch), 1),
    "partial of an async generator": functools.partial(numbers, 1),
    "method": Client().fetch,
    "class method": Client.anew,
    "static method": Client.plainly,
    "callable object": Client(),
    "partial of a callable object": functools.partial(Client(), 1),
    "cached": functools.lru_cache(fetch),
    "mock": AsyncMock(),
}

UNKNOWN_BEFORE = {
    "lambda": lambda x=0: fetch(x),
    "decorator": decorated(fetch),
    "dispatch": functools.singledispatch(fetch),
    "decorated async generator": decorated(numbers),
    "partial method": Partly(),
}

ORDINARY = {
    "decorator that runs it": finished(fetch),
    "builtin": abs,
    "type": int,
    "partial of a type": functools.partial(int),
    "bound method in C": "x".zfill,
    "cached": functools.lru_cache(abs),
    "class with an async call": type("Made", (), {"__call__": fetch, "__init__": lambda self, x=0: None}),
}


@pytest.fixture(autouse=True)
def nothing_is_said_of_what_was_never_awaited():
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield
        gc.collect()
    assert [str(each.message) for each in caught] == []


@pytest.mark.parametrize("function", PLAINLY_ASYNC.values(), ids=PLAINLY_ASYNC)
def test_what_is_known_to_be_async_is_refused(function, threads):
    scheduler = Scheduler(threads)
    with pytest.raises(TypeError, match=r"function must be an ordinary function, got .*asyncio.run"):
        scheduler.task(function)
    scheduler.on_start(lambda: scheduler.submit(function))
    with pytest.raises(TypeError, match="workers have no event loop"):
        scheduler.run()


@pytest.mark.parametrize("function", ORDINARY.values(), ids=ORDINARY)
def test_what_is_ordinary_is_not_refused(function, threads):
    check_function("function", function)
    scheduler = Scheduler(threads)
    scheduler.on_start(lambda: scheduler.submit(function, 1))
    scheduler.run()
    assert scheduler.event_counts["on_future_result"] == 1


def test_what_a_callback_does_with_a_generator_is_known_behind_a_partial():
    def generator(x):
        yield x

    with pytest.raises(TypeError, match="a generator, for its 'yield'"):
        check_callback("callback", functools.partial(generator, 1))
    check_callback("callback", functools.partial(fetch, 1))  # a run awaits it


@pytest.mark.parametrize("backend", ["threads", "sequential"])
@pytest.mark.parametrize("function", UNKNOWN_BEFORE.values(), ids=UNKNOWN_BEFORE)
def test_a_result_that_would_have_to_be_awaited_is_an_error_of_its_call(function, backend):
    scheduler = Scheduler.with_backend(backend)
    task = scheduler.task(function)
    errors = []
    task.on_exception(lambda _, error: errors.append(error))
    scheduler.on_start(lambda: task(1))
    scheduler.run(on_exception="ignore")
    (error,) = errors
    assert isinstance(error, TypeError)
    kind = "an async generator" if "generator" in str(error) else "a coroutine"
    assert f" returned {kind}, which has not run" in str(error)
    assert "asyncio.run" in str(error)
    assert task.event_counts["on_result"] == 0


@pytest.mark.parametrize("function", UNKNOWN_BEFORE.values(), ids=UNKNOWN_BEFORE)
def test_in_another_process_it_is_the_same_error(function):
    if function is UNKNOWN_BEFORE["dispatch"]:
        pytest.skip("it can't be sent")
    future = ExecutionFuture()
    call = RemoteCall(future, function, (1,), {}, dump_call(function, (1,), {}, cloudpickle.dumps))
    call.settle(run_call(call.data, cloudpickle.dumps))
    with pytest.raises(TypeError, match=r"returned a.* which has not run"):
        future.result()


def test_a_plugin_may_not_make_an_async_function_of_it_either(threads):
    class Fetches(TaskPlugin):
        def pre_submit(self, function, /, *args, **kwargs):
            return fetch, args, kwargs

    scheduler = Scheduler(threads)
    task = scheduler.task(abs, plugins=Fetches())
    scheduler.on_start(lambda: task(1))
    with pytest.raises(TypeError, match="fetch returned a coroutine"):
        scheduler.run()
