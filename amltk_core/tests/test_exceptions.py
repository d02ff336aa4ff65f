"""The errors of amltk: their tree, and what they carry."""

from __future__ import annotations

import dataclasses
import pickle
import re
import signal

import pytest

from amltk import ExitState, Retry, Scheduler, exceptions
from amltk.exceptions import AmltkError, RemoteError, WorkerDied


def test_the_tree_in_the_docstring_is_the_tree():
    drawn = set(re.findall(r"── (\w+)", exceptions.__doc__))
    ours = {
        name: kind for name, kind in vars(exceptions).items() if getattr(kind, "__module__", "") == exceptions.__name__
    }
    defined = {name for name, kind in ours.items() if isinstance(kind, type) and kind is not AmltkError}
    assert drawn == defined
    assert all(issubclass(getattr(exceptions, name), AmltkError) for name in defined)


@pytest.mark.parametrize(
    ("code", "number"), [(None, None), (3, None), (-9, signal.SIGKILL), (-signal.SIGRTMIN - 1, signal.SIGRTMIN + 1)]
)
def test_the_signal_of_a_dead_worker(code, number):
    assert WorkerDied("gone", pid=1, exit_code=code).signal == number


def test_errors_can_be_pickled():
    error = pickle.loads(pickle.dumps(RemoteError("text", "module.Kind")))
    assert str(error) == "module.Kind: text"


@dataclasses.dataclass(frozen=True)
class FrozenError(Exception):
    """Lets nothing be assigned, neither notes nor traceback."""

    code: int


def fail() -> None:
    raise FrozenError(3)


@pytest.mark.parametrize("start", [Scheduler.with_sequential, Scheduler.with_threads])
def test_an_exception_that_lets_nothing_be_assigned_is_the_outcome_of_its_call(start) -> None:
    scheduler = start()
    task = scheduler.task(fail, plugins=Retry(2, on=FrozenError, wait=lambda _: 0))
    scheduler.on_start(task)
    outcomes = []
    task.on_exception(lambda _, error: outcomes.append(error))
    assert scheduler.run(on_exception={FrozenError: "ignore"}).code is ExitState.Code.EXHAUSTED
    assert outcomes == [FrozenError(3)]
    assert "The call: fail()" in outcomes[0].__notes__[-1]
    assert "It was tried 2 times" in outcomes[0].__notes__[0]
    with pytest.raises(FrozenError):
        scheduler.run(on_exception="raise")


def test_one_that_a_callback_raises_leaves_the_run() -> None:
    scheduler = Scheduler.with_sequential()
    scheduler.on_start(fail)
    with pytest.raises(FrozenError) as caught:
        scheduler.run()
    assert "Raised by the callback fail" in caught.value.__notes__[0]
