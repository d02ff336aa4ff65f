"""The contract of a backend: what its description refuses."""

from __future__ import annotations

import dataclasses
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction

import pytest

from amltk.backend import Backend, CallOptions, Capabilities, Examination
from amltk.exceptions import NotSupportedError


def describe(**changes):
    description = {
        "name": "places",
        "summary": "Places.",
        "create": ThreadPoolExecutor,
        "capabilities": Capabilities(),
    }
    return Backend(**description | changes)


def test_a_backend_claims_nothing_by_default():
    backend = describe()
    assert not any(dataclasses.astuple(backend.capabilities))
    assert (backend.kill, backend.check, backend.examinations) == (None, None, None)


@pytest.mark.parametrize("name", ["x", "dask_jobqueue", "loky2"])
def test_names_that_work(name):
    assert describe(name=name).name == name


@pytest.mark.parametrize("name", ["", "Loky", "dask-jobqueue", "2loky", "_x", "with loky", "löky", "x\n", None, 3])
def test_names_that_do_not(name):
    with pytest.raises(ValueError, match="lower-case letters, digits and '_', as in with_<name>; got"):
        describe(name=name)


@pytest.mark.parametrize(
    "changes", [{"create": None}, {"create": "loky"}, {"kill": 9}, {"check": True}, {"examinations": ()}]
)
def test_what_is_called_can_be_called(changes):
    (field,) = changes
    with pytest.raises(TypeError, match=rf"^{field}= of backend 'places' must be callable, got"):
        describe(**changes)


def test_who_claims_to_stop_what_runs_can_kill():
    with pytest.raises(ValueError, match="claims stops_running_work but has no kill="):
        describe(capabilities=Capabilities(stops_running_work=True))
    describe(capabilities=Capabilities(stops_running_work=True), kill=lambda executor: None)


def test_a_description_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        describe().name = "other"


# What it examines of itself


def test_an_examination_starts_nothing_unless_it_says_so():
    assert Examination("submit command", str).runs is False


@pytest.mark.parametrize("name", ["", " ", "two\nlines", None, 3])
def test_an_examination_has_a_name(name):
    with pytest.raises(ValueError, match=r"^An examination's name is a word or two, as in 'submit command'; got"):
        Examination(name, str)


def test_an_examination_can_be_called():
    with pytest.raises(
        TypeError, match=r"^examine= of the examination 'job' must be callable, got 'sbatch' of type str"
    ):
        Examination("job", "sbatch")
    with pytest.raises(TypeError, match=r"^runs= of the examination 'job' must be True or False, got 1 of type int"):
        Examination("job", str, runs=1)


def test_options_of_a_call_are_checked_when_they_are_made():
    assert CallOptions() == CallOptions(timeout=None, priority=0, resources=None)
    assert type(CallOptions(timeout=Fraction(1, 2)).timeout) is float
    wrong = [{"timeout": 0}, {"timeout": "1"}, {"priority": 1.5}, {"priority": True}, {"resources": ["GPU"]}]
    wrong += [{"resources": {"GPU": 0}}, {"resources": {"GPU": "1"}}, {"resources": {1: 1}}]
    wrong += [{"resources": {"GPU": float("nan")}}]
    for options in wrong:
        (name,) = options
        with pytest.raises((TypeError, ValueError), match=name):
            CallOptions(**options)


def test_options_that_an_executor_does_not_accept_are_refused_by_name():
    CallOptions().check_accepted((), "Pool")
    CallOptions(timeout=1, priority=-1).check_accepted(("priority", "timeout"), "Pool")
    with pytest.raises(NotSupportedError, match=r"Pool does not accept the option priority=-1 .* accepts timeout\."):
        CallOptions(timeout=1, priority=-1).check_accepted(("timeout",), "Pool")
    with pytest.raises(NotSupportedError, match=r"resources=\{'GPU': 2\} .* accepts none\."):
        CallOptions(resources={"GPU": 2}).check_accepted((), "Pool")


@pytest.mark.parametrize("claimed", ["timeout", ("timeouts",)])
def test_options_are_claimed_by_their_names(claimed):
    with pytest.raises(ValueError, match="timeout, priority, resources"):
        Capabilities(accepts_options=claimed)
