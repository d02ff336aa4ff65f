"""The line at the end of a run that went on after errors of calls."""

from __future__ import annotations

import logging
import re

import pytest

from amltk import Scheduler
from amltk.exceptions import CallTimeoutError, WorkerDied


def fail(x):
    msg = f"no {x}\nmore about it"
    raise ValueError(msg)


def fail_in_two_ways(x):
    raise (KeyError if x % 3 == 0 else ValueError)(x)


def fail_sometimes(x):
    return 1 // x


class MuteError(Exception):
    def __str__(self):
        raise TypeError


def told(caplog, level=logging.WARNING):
    return [each.getMessage() for each in caplog.records if each.name == "amltk" and each.levelno == level]


def run(executor, function, numbers, **options):
    scheduler = Scheduler(executor)
    scheduler.on_start(lambda: [scheduler.submit(function, number) for number in numbers])
    scheduler.run(**options)
    return scheduler


@pytest.mark.parametrize("policy", ["ignore", "continue", {ValueError: "ignore"}, {Exception: "continue"}])
def test_a_run_all_of_whose_calls_fail_says_so_in_one_line(threads, caplog, policy):
    run(threads, fail, range(12), on_exception=policy)
    assert told(caplog) == ["12 of 12 calls failed. Commonest error (12 times): ValueError: no 0"]


def test_the_commonest_error_is_named(threads, caplog):
    run(threads, fail_in_two_ways, range(9), on_exception="ignore")
    assert told(caplog) == ["9 of 9 calls failed. Commonest error (6 times): ValueError: 1"]


def test_one_call_is_enough(threads, caplog):
    run(threads, fail, "x", on_exception="ignore")
    assert told(caplog) == ["1 of 1 call failed. Commonest error (1 time): ValueError: no x"]


def test_where_some_return_it_is_no_warning(threads, caplog):
    caplog.set_level(logging.INFO, "amltk")
    run(threads, fail_sometimes, [0, 1, 2], on_exception="ignore")
    assert told(caplog) == []
    (line,) = told(caplog, logging.INFO)
    assert line.startswith("1 of 3 calls failed. Commonest error (1 time): ZeroDivisionError: ")


def test_nothing_is_said_where_nothing_failed_or_the_error_is_raised(threads, caplog):
    caplog.set_level(logging.DEBUG, "amltk")
    run(threads, abs, [1, 2], on_exception="ignore")
    with pytest.raises(ValueError, match="no 1"):
        run(threads, fail, [1])
    run(threads, fail, [1], on_exception="end")
    assert caplog.records == []


def test_each_run_counts_its_own_calls(threads, caplog):
    scheduler = Scheduler(threads)
    calls = iter([(abs, [1, 2, 3]), (fail, [1, 2])])

    @scheduler.on_start
    def begin():
        function, numbers = next(calls)
        for number in numbers:
            scheduler.submit(function, number)

    scheduler.run(on_exception="ignore")
    scheduler.run(on_exception="ignore")
    (line,) = told(caplog)
    assert re.fullmatch(r"2 of 2 calls failed\. Commonest error \(2 times\): ValueError: no [12]", line)


def test_an_error_that_cannot_be_shown_is_named(threads, caplog):
    def fail_mutely(_):
        raise MuteError

    run(threads, fail_mutely, [1, 2], on_exception="ignore")
    assert told(caplog) == ["2 of 2 calls failed. Commonest error (2 times): MuteError"]


def test_a_long_text_is_cut(threads, caplog):
    def fail_at_length(_):
        raise ValueError("x" * 10_000)

    run(threads, fail_at_length, [1], on_exception="ignore")
    assert len(told(caplog)[0]) < 400


def test_where_every_call_ran_out_of_time_it_says_what_may_help(manual, caplog):
    def run_with(*errors):
        manual.calls.clear()
        scheduler = Scheduler(manual)

        @scheduler.on_start
        def begin():
            for index, error in enumerate(errors):
                scheduler.submit(abs, index)
                manual.fail(index, error)

        scheduler.run(on_exception="ignore")
        return told(caplog)[-1]

    class WallTimeoutException(Exception): ...  # noqa: N818 - as pynisher has it

    late = CallTimeoutError("f(1) took longer than 3 s", timeout=3)
    said = run_with(late, CallTimeoutError("f(2) took longer than 3 s", timeout=3), WallTimeoutException("f(3)"))
    assert said.startswith("3 of 3 calls failed. Commonest error (2 times): CallTimeoutError: f(1) took longer")
    assert "Every call ran out of time." in said
    assert "initializer=" in said
    assert "out of time" not in run_with(late, WorkerDied("it died"))


def test_a_call_that_was_cancelled_has_not_failed(manual, caplog):
    scheduler = Scheduler(manual)

    @scheduler.on_start
    def begin():
        futures = [scheduler.submit(abs, index) for index in range(2)]
        futures[0].cancel()
        manual.fail(1, ValueError("no"))

    scheduler.run(on_exception="ignore")
    assert told(caplog) == ["1 of 1 call failed. Commonest error (1 time): ValueError: no"]
