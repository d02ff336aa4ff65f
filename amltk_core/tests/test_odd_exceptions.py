"""Exceptions whose classes refuse what others allow: each is the outcome of its call, and of a run."""

from __future__ import annotations

import dataclasses
import functools
import logging
import traceback
from collections.abc import Callable
from typing import Any, NoReturn

import pytest

from amltk import ExitState, Retry, Scheduler, TaskPlugin


@dataclasses.dataclass(frozen=True)
class FrozenError(Exception):
    """Lets nothing be assigned."""

    code: int = 3


class SlottedError(Exception):
    """Lets nothing be assigned but its slot."""

    __slots__ = ("code",)

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise RuntimeError(name)


def _refuse(self: object, *_: object) -> NoReturn:
    raise RuntimeError


class ClosedError(Exception):
    """Hides what Python keeps with an exception."""

    __notes__ = property(_refuse, _refuse)
    __traceback__ = property(_refuse, _refuse)  # type: ignore[assignment]
    __cause__ = property(_refuse, _refuse)  # type: ignore[assignment]
    __context__ = property(_refuse, _refuse)  # type: ignore[assignment]
    __suppress_context__ = property(_refuse, _refuse)  # type: ignore[assignment]
    with_traceback = _refuse  # type: ignore[assignment]
    add_note = _refuse  # type: ignore[assignment]


class WithoutDictionaryError(Exception):
    """Hides its attributes."""

    __dict__ = property(_refuse)  # type: ignore[assignment]


class UncomparableError(Exception):
    """Can be neither compared, nor hashed, nor shown."""

    __hash__ = None  # type: ignore[assignment]
    __eq__ = _refuse
    __ne__ = _refuse
    __str__ = _refuse
    __repr__ = _refuse


class FalseError(Exception):
    """Is false, as an exception that holds an empty list of problems may be."""

    def __bool__(self) -> bool:
        return False


class EmptyError(Exception):
    """Is false for its length."""

    def __len__(self) -> int:
        return 0


class UndecidedError(Exception):
    """Is neither true nor false."""

    __bool__ = _refuse


ODD = [
    FrozenError, SlottedError, ClosedError, WithoutDictionaryError, UncomparableError, FalseError, EmptyError,
    UndecidedError,
]  # fmt: skip


def told(test: Callable[..., None]) -> Callable[..., None]:
    """Have a test that fails say so in a way that pytest can show."""

    @functools.wraps(test)
    def run(*args: Any, **kwargs: Any) -> None:
        problem = ""
        try:
            test(*args, **kwargs)
        except BaseException as error:
            where = traceback.extract_tb(BaseException.__dict__["__traceback__"].__get__(error))
            text = str(error) if isinstance(error, AssertionError) else ""
            problem = f"{type(error).__name__} {text} at {[(frame.filename[-30:], frame.lineno) for frame in where]}"
        if problem:
            pytest.fail(problem)

    return run


def fail(kind: type[Exception]) -> NoReturn:
    raise kind


async def fail_later(kind: type[Exception]) -> NoReturn:
    raise kind


def watched(backend: str) -> tuple[Scheduler, list[str]]:
    scheduler = Scheduler.with_backend(backend)
    seen: list[str] = []
    scheduler.on_finishing(lambda: seen.append("finishing"))
    scheduler.on_finished(lambda: seen.append("finished"))
    return scheduler, seen


@pytest.mark.parametrize("kind", ODD)
@pytest.mark.parametrize("backend", ["sequential", "threads"])
@told
def test_it_is_what_its_call_raised(backend: str, kind: type[Exception]) -> None:
    scheduler, seen = watched(backend)
    task = scheduler.task(fail)
    scheduler.on_start(lambda: task(kind))
    outcomes: list[BaseException] = []
    task.on_exception(lambda _, error: outcomes.append(error))
    state = scheduler.run(on_exception="end", timeout=60)
    assert state.code is ExitState.Code.EXCEPTION
    assert type(state.exception) is kind
    assert [type(error) for error in outcomes] == [kind]
    assert (task.n_running, seen) == (0, ["finishing", "finished"])
    with pytest.raises(kind):
        scheduler.run(timeout=60)
    assert scheduler.run(on_exception="ignore", timeout=60).code is ExitState.Code.EXHAUSTED
    assert not scheduler.running()


@pytest.mark.parametrize("backend", ["processes", "loky", "dask"])
@told
def test_it_crosses_a_process(backend: str) -> None:
    pytest.importorskip(f"amltk_{backend}")
    scheduler, seen = watched(backend)
    task = scheduler.task(fail)

    @scheduler.on_start
    def submit_all() -> None:
        for kind in ODD:
            task(kind)

    outcomes: list[BaseException] = []
    task.on_exception(lambda _, error: outcomes.append(error))
    state = scheduler.run(on_exception="ignore", timeout=60)
    assert state.code is ExitState.Code.EXHAUSTED
    assert {type(error) for error in outcomes} == set(ODD)
    assert len(outcomes) == len(ODD)
    assert (task.n_running, seen) == (0, ["finishing", "finished"])


class Refuses(TaskPlugin):
    """Raises in one of its methods."""

    def __init__(self, method: str, kind: type[Exception]) -> None:
        self._method = method
        self._kind = kind

    def pre_submit(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        if self._method == "pre_submit":
            raise self._kind
        return function, args, kwargs

    def retry_after(self, future: Any, error: BaseException) -> float | None:
        raise self._kind


def in_a_callback(event: str) -> Callable[[Scheduler, type[Exception]], None]:
    def place(scheduler: Scheduler, kind: type[Exception]) -> None:
        scheduler.on_start(lambda: scheduler.submit(int))
        if event == "on_stop":
            scheduler.on_future_result(scheduler.stop)
        scheduler.on(event, lambda *_: fail(kind))

    return place


def in_an_async_callback(scheduler: Scheduler, kind: type[Exception]) -> None:
    scheduler.on_start(lambda: fail_later(kind))


def in_a_predicate(scheduler: Scheduler, kind: type[Exception]) -> None:
    scheduler.on_start(int, when=lambda: fail(kind))


def in_pre_submit(scheduler: Scheduler, kind: type[Exception]) -> None:
    scheduler.on_start(scheduler.task(int, plugins=Refuses("pre_submit", kind)))


def in_retry_after(scheduler: Scheduler, kind: type[Exception]) -> None:
    task = scheduler.task(fail, plugins=Refuses("retry_after", kind))
    scheduler.on_start(lambda: task(kind))


def in_a_map(scheduler: Scheduler, kind: type[Exception]) -> None:
    def items() -> Any:
        yield 1
        raise kind

    scheduler.on_start(lambda: scheduler.task(int).map(items(), buffersize=1))


def in_call_later(scheduler: Scheduler, kind: type[Exception]) -> None:
    scheduler.on_start(lambda: scheduler.call_later(0, fail, kind))


EVENTS = [
    "on_start", "on_future_submitted", "on_future_done", "on_future_result", "on_empty", "on_stop", "on_finishing",
    "on_finished",
]  # fmt: skip
PLACES = {event: in_a_callback(event) for event in EVENTS} | {
    "async": in_an_async_callback, "when": in_a_predicate, "pre_submit": in_pre_submit, "retry_after": in_retry_after,
    "map": in_a_map, "call_later": in_call_later,
}  # fmt: skip


@pytest.mark.parametrize("kind", ODD)
@pytest.mark.parametrize("place", PLACES)
@told
def test_it_leaves_the_run_where_code_of_the_user_raised_it(place: str, kind: type[Exception]) -> None:
    logging.getLogger("amltk").handlers.clear()
    for on_exception in ("raise", "end", "ignore"):
        scheduler, seen = watched("sequential")
        PLACES[place](scheduler, kind)
        if on_exception == "raise":
            with pytest.raises((kind, BaseExceptionGroup)) as caught:
                scheduler.run(timeout=60)
            found = caught.value.exceptions if isinstance(caught.value, BaseExceptionGroup) else (caught.value,)
            assert {type(error) for error in found} == {kind}
        else:
            logger = logging.getLogger("amltk")
            logger.disabled = True  # pytest's handler raises for an exception that can't be shown
            try:
                state = scheduler.run(on_exception=on_exception, timeout=60)
            finally:
                logger.disabled = False
            if on_exception == "end":
                assert type(state.exception) is kind
        assert seen == ["finishing", "finished"]
        assert not scheduler.running()


@pytest.mark.parametrize("kind", ODD)
@told
def test_several_are_one_group(kind: type[Exception]) -> None:
    scheduler, seen = watched("sequential")
    scheduler.on_start(lambda: fail(kind))
    scheduler.on_finishing(lambda: fail(kind))
    with pytest.raises(ExceptionGroup) as caught:
        scheduler.run(timeout=60)
    assert [type(error) for error in caught.value.exceptions] == [kind, kind]
    assert seen == ["finishing", "finished"]


@pytest.mark.parametrize("kind", ODD)
@told
def test_a_call_that_raises_it_is_tried_again(kind: type[Exception]) -> None:
    scheduler, seen = watched("sequential")
    task = scheduler.task(fail, plugins=Retry(2, on=kind, wait=lambda _: 0))
    scheduler.on_start(lambda: task(kind))
    assert type(scheduler.run(on_exception="end", timeout=60).exception) is kind
    assert seen == ["finishing", "finished"]


@pytest.mark.parametrize(
    ("backend", "kind"),
    [("threads", kind) for kind in ODD]
    + [("processes", ClosedError), ("processes", UncomparableError), ("loky", UncomparableError)],
)
@told
def test_an_initializer_that_raises_it_ends_the_run(backend: str, kind: type[Exception]) -> None:
    scheduler = Scheduler.with_backend(backend, initializer=fail, initargs=(kind,))
    seen: list[str] = []
    scheduler.on_finished(lambda: seen.append("finished"))
    scheduler.on_start(lambda: scheduler.submit(int))
    with pytest.raises(Exception) as caught:  # noqa: PT011 - what kind of error tells of it depends on the backend
        scheduler.run(timeout=60)
    chain: list[BaseException] = []
    error: BaseException | None = caught.value
    while error is not None:
        chain.append(error)
        error = BaseException.__cause__.__get__(error)  # type: ignore[attr-defined] # a class of above hides it
    assert type(chain[-1]) is kind
    assert not scheduler.running()
