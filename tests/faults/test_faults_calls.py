"""Group C: a call raises."""

from __future__ import annotations

import fault_calls as calls
import pytest
from fault_case import told


def test_c1_ordinary(case):
    error = case.error_among_others(calls.fail_deep, 5)
    assert type(error) is ValueError
    assert str(error) == "x is 5"
    text = told(error)
    assert "in fail_deep" in text
    assert "in deeper" in text


def test_c2_with_all_that_there_is(case):
    error = case.error_among_others(calls.fail_with_all)
    assert type(error) is ExceptionGroup
    assert [type(each) for each in error.exceptions] == [KeyError, calls.OwnInit]
    assert error.exceptions[1].code == 2
    assert type(error.__cause__) is LookupError
    assert "a note of the call" in error.__notes__


@pytest.mark.parametrize("kind", ["SystemExit"])
def test_c3_exit(case, kind):
    assert type(case.error_among_others(calls.fail_with, kind)).__name__ == kind


def test_c4_keyboard_interrupt(case):
    assert type(case.error_among_others(calls.fail_with, "KeyboardInterrupt")) is KeyboardInterrupt


def test_c5_cancelled(case):
    assert type(case.error_among_others(calls.fail_with, "CancelledError")).__name__ == "CancelledError"


def test_c7_recursion(case):
    assert type(case.error_among_others(calls.recurse, 0)) is RecursionError


def test_c7_memory(case):
    assert type(case.error_among_others(calls.want_too_much_memory)) in {MemoryError, OverflowError}
