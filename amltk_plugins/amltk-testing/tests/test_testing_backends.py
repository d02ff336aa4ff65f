"""The kit finds what is wrong with a backend: for each mistake there is a backend that makes it, and no other."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from amltk_testing import FakeSite

pytestmark = pytest.mark.thorough

HERE = Path(__file__).parent
LOADS = "test_the_plugin_loads"
ANY_ORDER = "test_what_holds_always_holds_in_any_order"
WHERE = "test_the_execution_of_a_call_says_where_it_ran"
WHEN = "test_the_execution_of_a_call_says_when_it_ran"
WAITS = "test_the_execution_of_a_call_that_waits_is_unknown"
RAISED = "test_the_execution_of_a_call_that_raised_is_reported"
SEEN = "test_callbacks_of_a_run_see_the_execution"

EXPECTED = {
    "right": [],
    "modest": [],
    # The plugin
    "raises_on_import": [LOADS],
    "has_no_class": [LOADS],
    "heavy": ["test_importing_the_plugin_is_light"],
    "no_executor": ["test_open_returns_an_executor"],
    "exits_in_open": ["test_open_returns_an_executor"],
    "no_future": ["test_a_call_returns_its_result"],
    "refuses_its_options": ["test_the_options_are_accepted"],
    "starts_in_init": ["test_making_the_backend_starts_nothing"],
    # Health checks
    "examines": [],
    "examines_at_once": ["test_health_checks_start_nothing_by_themselves"],
    "cleans_up_what_is_not_there": ["test_health_checks_start_nothing_by_themselves"],
    "examines_the_same_twice": ["test_health_checks_start_nothing_by_themselves"],
    "examines_something_else": [
        "test_health_checks_find_nothing_wrong",
        "test_health_checks_start_nothing_by_themselves",
    ],
    "says_nothing_of_what_it_finds": ["test_health_checks_find_nothing_wrong"],
    "finds_fault": ["test_health_checks_find_nothing_wrong"],
    # Futures
    "never_resolves": ["test_a_call_returns_its_result"],
    "forgets_one": ["test_many_calls_return_their_own_results"],
    "forgets_the_cancelled": ["test_shutdown_cancels_what_waits"],
    "resolves_twice": ["test_each_future_is_resolved_once"],
    "resolves_twice_later": ["test_each_future_is_resolved_once"],
    "tries_to_resolve_twice": ["test_each_future_is_resolved_once"],
    "submit_hangs": ["test_a_call_returns_its_result"],
    "shares_equal_calls": ["test_equal_calls_run_each_time"],
    "says_cancelled": ["test_an_ended_call_can_not_be_cancelled", "test_cancel_says_what_is_true"],
    # Arguments and exceptions
    "swallows_a_keyword": ["test_keywords_reach_the_function"],
    "loses_keywords": ["test_a_task_passes_its_arguments", "test_keywords_reach_the_function"],
    "loses_tracebacks": ["test_an_exception_tells_where_it_was_raised"],
    "worker_ends_with_the_program": ["test_what_ends_programs_ends_only_the_call"],
    "takes_an_error_for_a_cancellation": ["test_what_ends_programs_ends_only_the_call"],
    # The end
    "takes_calls_after_shutdown": ["test_after_shutdown_no_call_is_taken"],
    "does_not_wait": ["test_shutdown_waits_for_what_was_submitted", "test_the_with_block_shuts_down"],
    "always_waits": ["test_shutdown_without_waiting_comes_back_at_once"],
    "shuts_down_once": ["test_shutdown_twice_is_once"],
    "only_one": ["test_two_schedulers_run_side_by_side"],
    "leaks_a_process": ["test_no_process_is_left", ANY_ORDER],
    "leaves_a_daemon": ["test_no_process_is_left"],
    "leaks_a_thread": ["test_no_thread_is_left", ANY_ORDER],
    "leaks_a_descriptor": ["test_no_file_descriptor_is_left"],
    # Lies
    "lies_blocks_the_run": ["test_submit_comes_back_before_the_call_has_ended"],
    "lies_stops_running_work": ["test_stop_now_ends_children_of_calls", "test_stop_now_ends_what_runs"],
    "leaves_children": ["test_stop_now_ends_children_of_calls"],
    "lies_survives_dead_worker": ["test_other_calls_survive_a_dead_worker"],
    "lies_accepts_options": [
        "test_a_call_that_takes_too_long_is_ended",
        "test_options_of_calls_are_those_that_are_claimed",
    ],
    "enforces_no_timeouts": ["test_a_call_that_takes_too_long_is_ended"],
    "reports_execution": [],
    "lies_carries_messages": ["test_messages_can_be_sent"],
    "lies_shares_objects": ["test_a_shared_object_reaches_calls"],
    "shares_objects": [],
    "shares_what_stands_for_it": ["test_a_shared_object_reaches_calls"],
    "lies_reports_execution": [WHERE, WHEN, WAITS, RAISED, SEEN],
    "lies_reports_execution_of_processes": [WHERE, WHEN, WAITS, RAISED, SEEN],
    "knows_nothing": [WHERE, WHEN, RAISED, SEEN],
    "knows_no_end": [WHERE, WHEN, RAISED, SEEN],
    "knows_another_process": [WHERE],
    "knows_another_time": [WHEN],
    "counts_the_call_as_instant": [WHEN],
    "knows_too_early": [WAITS],
    "ignores_options": ["test_options_of_calls_are_those_that_are_claimed"],
    "calls_in_another_way": ["test_options_of_calls_are_those_that_are_claimed"],
    "hides_options": ["test_options_of_calls_are_those_that_are_claimed"],
    "lies_needs_pickling": ["test_needs_pickling_is_true"],
    "lies_crosses_machines": ["test_crosses_machines_is_true"],
    "lies_takes_any_function": ["test_functions_as_arguments_run", "test_lambdas_and_closures_run"],
    "lies_carries_any_exception": ["test_an_exception_arrives_whatever_it_holds"],
}
QUICKLY = {
    *("leaves_a_daemon", "submit_hangs"),
    *("always_waits", "forgets_one", "forgets_the_cancelled", "leaks_a_descriptor", "leaks_a_process"),
    *("leaks_a_thread", "enforces_no_timeouts", "never_resolves", "says_cancelled", "shuts_down_once"),
    "worker_ends_with_the_program",
}
"""What waits in vain, and need not do so for long."""

OF_EXECUTION = {name for name, failed in EXPECTED.items() if {WHERE, WHEN, WAITS, RAISED, SEEN} & {*failed}}
OF_HEALTH_CHECKS = {
    *("examines_at_once", "cleans_up_what_is_not_there", "examines_the_same_twice", "examines_something_else"),
    *("says_nothing_of_what_it_finds", "finds_fault", "starts_in_init"),
}
"""What no other group of tests has to do with, and need not be tested by all."""

SUITES = """
from amltk_testing import BackendTests
from amltk_testing.backend_execution import Executions
from amltk_testing.backend_health_checks import HealthChecks
from amltk_testing.backend_plugin import Plugin

for name, seconds in {names}.items():
    bases = (HealthChecks, Plugin) if name in {few} else (Executions, Plugin) if name in {timed} else (BackendTests,)
    values = dict(backend=name, seconds=seconds, examples=2, shares=("amltk_testing",))
    suite = type("Test_" + name, bases, values)
    if name not in {own}:  # theirs is one module
        suite.test_importing_the_plugin_is_light = None
    globals()[suite.__name__] = suite
"""


@pytest.fixture(scope="module")
def scores(tmp_path_factory):
    """The score cards of all of them."""
    folder = tmp_path_factory.mktemp("bad")
    site = FakeSite(folder / "site")
    own = {
        "raises_on_import": "raise OSError('no licence')",
        "has_no_class": "",
        "heavy": "import hypothesis\nfrom bad_backends import right\nclass heavy(right): name = 'heavy'",
    }
    for name, code in own.items():
        site.add(f"amltk-bad-{name}", code, backends=f"{name} = @:{name}")
    names = "\n".join(f"{name} = @:{name}" for name in EXPECTED if name not in own)
    site.add("amltk-bad", (HERE / "bad_backends.py").read_text(), backends=names, module="bad_backends")
    parts = [list(EXPECTED)[number::4] for number in range(4)]  # mostly they wait
    running = []
    for number, part in enumerate(parts):
        file = folder / f"test_bad_{number}.py"
        names = {name: 1.5 if name in QUICKLY else 10 for name in part}
        file.write_text(SUITES.format(names=names, few=OF_HEALTH_CHECKS, timed=OF_EXECUTION, own={"right", *own}))
        command = [
            *(sys.executable, "-m", "pytest", "-q", "--durations=25", "-p", "no:cacheprovider", f"--rootdir={folder}"),
            *(f"--basetemp={folder / str(number)}", f"--amltk-score={folder / f'{number}.json'}", str(file)),
        ]
        environ = {**os.environ, "PYTHONPATH": str(site.folder)}
        running.append(
            subprocess.Popen(
                command, cwd=folder, env=environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
            )
        )
    scores = {}
    for number, process in enumerate(running):
        output, _ = process.communicate(timeout=280)
        print(output)  # noqa: T201 - seen if a test below fails
        scores |= json.loads((folder / f"{number}.json").read_text())
    return scores


def plain(name):
    return re.sub(r"\[.*", "", name.rpartition("::")[2])


@pytest.mark.timeout(330)
@pytest.mark.parametrize("name", EXPECTED)
def test_each_is_found_by_name(name, scores):
    failed = {
        plain(test): result["why"] for test, result in scores[name]["tests"].items() if result["outcome"] == "failed"
    }
    assert sorted(failed) == sorted(EXPECTED[name]), failed
    assert scores[name]["passed"] or failed.keys() == {LOADS}
