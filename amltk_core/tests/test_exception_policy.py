"""`on_exception=`: which exception leads to what, and what is refused."""

from __future__ import annotations

import asyncio
import types

import pytest

from amltk.scheduling.exception_policy import Action, Policy

ERRORS = [
    ValueError("x"),
    SystemExit(1),
    KeyboardInterrupt(),
    asyncio.CancelledError(),
    ExceptionGroup("g", [OSError()]),
]


@pytest.mark.parametrize(
    ("name", "action"),
    [("raise", Action.RAISE), ("end", Action.END), ("ignore", Action.IGNORE), ("continue", Action.IGNORE)],
)
def test_one_action_for_all(name, action):
    assert {Policy(name).action(error) for error in ERRORS} == {action}


def test_the_first_match_decides_and_no_match_raises():
    policy = Policy(
        {KeyError: "end", LookupError: "ignore", OSError: "continue", Exception: "raise", IndexError: "end"}
    )
    assert policy.action(KeyError()) is Action.END
    assert policy.action(IndexError()) is Action.IGNORE
    assert policy.action(FileNotFoundError()) is Action.IGNORE
    assert policy.action(ValueError()) is Action.RAISE
    assert policy.action(SystemExit()) is Action.RAISE
    assert Policy({}).action(ValueError()) is Action.RAISE


def test_any_mapping_will_do_and_is_read_once():
    source = {ValueError: "ignore"}
    policy = Policy(types.MappingProxyType(source))
    source[ValueError] = "end"
    assert policy.action(ValueError()) is Action.IGNORE


@pytest.mark.parametrize(
    ("wrong", "error", "said"),
    [
        ("rasie", ValueError, r"got 'rasie'\. Did you mean 'raise'\?"),
        ("RAISE", ValueError, r"got 'RAISE'\."),
        ("", ValueError, r"got ''\."),
        (None, TypeError, r"got None of type NoneType\."),
        (True, TypeError, r"got True of type bool\."),
        (["raise"], TypeError, r"of type list\."),
        (ValueError, TypeError, r"of type type\."),
        ({ValueError: "stop"}, ValueError, r"got 'stop'\."),
        ({ValueError: None}, TypeError, r"got None of type NoneType\."),
        ({OSError: "end", ValueError: {}}, TypeError, r"got \{\} of type dict\."),
    ],
)
def test_a_wrong_action_is_refused(wrong, error, said):
    with pytest.raises(error, match=r"^on_exception must be 'raise', 'end', 'ignore' .*" + said):
        Policy(wrong)


@pytest.mark.parametrize("wrong", ["ValueError", int, ValueError("an object"), (ValueError, KeyError), None])
def test_a_wrong_key_is_refused(wrong):
    with pytest.raises(TypeError, match=r"^The keys of on_exception must be exception types, got"):
        Policy({wrong: "ignore"})
