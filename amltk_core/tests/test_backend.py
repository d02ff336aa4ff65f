"""The contract of a backend: what is refused of a class."""

from __future__ import annotations

import dataclasses
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction

import pytest

from amltk.backend import (
    Backend,
    CallOptions,
    Capabilities,
    HealthCheck,
    check_backend,
    description_of,
    overrides,
)
from amltk.exceptions import NotSupportedError


class Places(Backend):
    name = "places"
    summary = "Places."

    def open(self):
        return ThreadPoolExecutor()


def describe(**changes):
    """Return a subclass, if it can serve as a backend."""
    cls = type("Changed", (Places,), changes)
    check_backend(cls)
    return cls


def test_a_backend_claims_nothing_by_default():
    assert not any(dataclasses.astuple(Places.capabilities))
    assert not any(overrides(Places, method) for method in ("kill", "health_checks", "job_script"))
    assert list(Places().health_checks()) == []


@pytest.mark.parametrize("name", ["x", "dask_jobqueue", "loky2"])
def test_names_that_work(name):
    assert describe(name=name).name == name


@pytest.mark.parametrize("name", ["", "Loky", "dask-jobqueue", "2loky", "_x", "with loky", "löky", "x\n", None, 3])
def test_names_that_do_not(name):
    with pytest.raises(ValueError, match="lower-case letters, digits and '_', as in with_<name>; got"):
        describe(name=name)


@pytest.mark.parametrize("changes", [{"open": "loky"}, {"kill": 9}, {"health_checks": ()}, {"job_script": "#!/bin/sh"}])
def test_what_is_called_can_be_called(changes):
    (method,) = changes
    with pytest.raises(TypeError, match=rf"^{method} of backend 'places' must be callable, got"):
        describe(**changes)


@pytest.mark.parametrize(
    "changes",
    [
        {"summary": None},
        {"capabilities": {}},
        {"capabilities": Capabilities},
        {"needs_main_thread": 1},
        {"unavailable": None},
    ],
)
def test_attributes_are_of_their_types(changes):
    (attribute,) = changes
    with pytest.raises(TypeError, match=rf"^{attribute} of backend 'places' must be "):
        describe(**changes)


def test_a_backend_opens_executors():
    class Nothing(Backend):
        name = "nothing"
        summary = "Nothing."

    with pytest.raises(TypeError, match=r"^Backend 'nothing' has no method open\(\)\.$"):
        check_backend(Nothing)


def test_who_claims_to_stop_what_runs_can_kill():
    with pytest.raises(ValueError, match=r"claims stops_running_work but has no method kill\(\)"):
        describe(capabilities=Capabilities(stops_running_work=True))
    describe(capabilities=Capabilities(stops_running_work=True), kill=lambda self, executor: None)


def test_the_words_of_a_constructor():
    def init(self):
        """Run calls in places.

        All of them.
        """

    assert description_of(describe(__init__=init)) == "Run calls in places.\n\nAll of them."
    assert description_of(describe(__doc__="Of the class.")) == "Of the class."
    assert description_of(describe()) == "Places."
    assert description_of(describe(__init__=lambda self: None, __doc__="Of the class.")) == "Of the class."


# What it checks of itself


def test_a_health_check_starts_nothing_unless_it_says_so():
    assert HealthCheck("submit command", str).runs is False


@pytest.mark.parametrize("name", ["", " ", "two\nlines", None, 3])
def test_a_health_check_has_a_name(name):
    with pytest.raises(ValueError, match=r"^A health check's name is a word or two, as in 'submit command'; got"):
        HealthCheck(name, str)


def test_a_health_check_can_be_called():
    with pytest.raises(
        TypeError, match=r"^check= of the health check 'job' must be callable, got 'sbatch' of type str"
    ):
        HealthCheck("job", "sbatch")
    with pytest.raises(TypeError, match=r"^runs= of the health check 'job' must be True or False, got 1 of type int"):
        HealthCheck("job", str, runs=1)


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
