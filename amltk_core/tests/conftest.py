"""What several of the core's test files use."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from typing import Any

import pytest


class ManualExecutor(Executor):
    """An executor whose calls end when the test says so."""

    def __init__(self) -> None:
        self.calls: list[tuple[Future[Any], Callable[..., Any], tuple[Any, ...], dict[str, Any]]] = []

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        self.calls.append((future, fn, args, kwargs))
        return future

    def start(self, index: int = 0) -> Future[Any]:
        """Let a worker take up a call."""
        future = self.calls[index][0]
        assert future.set_running_or_notify_cancel()
        return future

    def finish(self, index: int = 0) -> None:
        """Take up a call, if it has not been, and do it."""
        future, fn, args, kwargs = self.calls[index]
        if not future.running():
            self.start(index)
        try:
            future.set_result(fn(*args, **kwargs))
        except BaseException as error:
            future.set_exception(error)


@pytest.fixture
def manual() -> ManualExecutor:
    return ManualExecutor()


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(2) as executor:
        yield executor
