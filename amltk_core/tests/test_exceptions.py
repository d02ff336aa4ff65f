"""The errors of amltk: their tree, and what they carry."""

from __future__ import annotations

import pickle
import re
import signal

import pytest

from amltk import exceptions
from amltk.exceptions import AmltkError, RemoteError, WorkerDied


def test_the_tree_in_the_docstring_is_the_tree():
    drawn = set(re.findall(r"── (\w+)", exceptions.__doc__))
    defined = {name for name, kind in vars(exceptions).items() if isinstance(kind, type) and kind is not AmltkError}
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
