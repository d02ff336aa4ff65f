"""Group A: a worker dies."""

from __future__ import annotations

import signal

import fault_calls as calls
import pytest
from fault_case import told

from amltk.exceptions import WorkerDied


def meets(case, function, *args) -> WorkerDied:
    """Have a call die among others, which have to finish; return what is said of it."""
    task = case.task(function)
    others = case.task(calls.double)

    @case.at_start
    def begin() -> None:
        others(0)
        task(case.folder, *args)
        for n in range(1, 6):
            others(n)

    case.run()
    error = case.error(task)
    assert isinstance(error, WorkerDied)
    assert sorted(case.results(others)) == [0, 2, 4, 6, 8, 10]
    assert error.pid == case.pid()
    assert str(error.pid) in str(error)
    assert function.__name__ in str(error)
    return error


def test_a1_killed(case):
    error = meets(case, calls.die, signal.SIGKILL)
    assert error.signal == signal.SIGKILL
    assert "SIGKILL" in str(error)


def test_a2_crashed(case):
    error = meets(case, calls.crash)
    assert error.signal == signal.SIGSEGV
    assert "SIGSEGV" in str(error)


def test_a3_left(case):
    error = meets(case, calls.leave, 7)
    assert error.exit_code == 7
    assert "7" in str(error)


def test_a6_initializer(case):
    case.open(initializer=calls.fail_to_initialize)
    task = case.task(calls.double)
    case.at_start(lambda: [task(n) for n in range(5)])
    with pytest.raises(Exception, match="broken") as info:
        case.run(on_exception="raise")
    assert "LookupError: the workers cannot begin" in told(info.value)
    case.open()
