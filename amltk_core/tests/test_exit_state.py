"""How a run ended."""

from __future__ import annotations

import dataclasses
import pickle
import typing

import pytest

from amltk import ExitState

Code = ExitState.Code


def test_the_codes():
    assert [code.name for code in Code] == ["EXHAUSTED", "STOPPED", "TIMEOUT", "CANCELLED", "EXCEPTION"]


def test_states_are_compared_by_what_they_hold():
    error = ValueError("x")
    assert ExitState(Code.TIMEOUT) == ExitState(Code.TIMEOUT, None) == ExitState(code=Code.TIMEOUT, exception=None)
    assert ExitState(Code.EXCEPTION, error) == ExitState(Code.EXCEPTION, error)
    assert ExitState(Code.TIMEOUT) != ExitState(Code.STOPPED)
    assert ExitState(Code.EXCEPTION, error) != ExitState(Code.EXCEPTION)
    assert len({ExitState(Code.TIMEOUT), ExitState(Code.TIMEOUT)}) == 1


def test_the_class_of_codes_is_no_field():
    assert [field.name for field in dataclasses.fields(ExitState)] == ["code", "exception"]
    assert typing.get_type_hints(ExitState)["code"] is Code


def test_a_state_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        ExitState(Code.TIMEOUT).code = Code.STOPPED  # type: ignore[misc] # that is what is tried


def test_a_state_survives_pickling():
    assert pickle.loads(pickle.dumps(ExitState(Code.STOPPED))) == ExitState(Code.STOPPED)
