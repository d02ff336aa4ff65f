"""CPython's own tests of its executors, pointed at our pool: they pass, but for those listed here with a reason."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from pathlib import Path

import pytest

HERE = Path(__file__).parent
# A process for each, since these tests change the interpreter as they like. Each takes 1 to 15 seconds.
MODULES = ["test_process_pool", "test_deadlock", "test_wait", "test_shutdown", "test_as_completed", "test_init"]
RUNS = [(module, "Forkserver") for module in MODULES]
# What depends on the start method.
OFTEN = ["test_process_pool", "test_deadlock", "test_shutdown", "test_init"]
RUNS += [(module, method) for module in OFTEN for method in ("Spawn", "Fork")]

# Those that fail, and shall: by the reason, as the README has it, and how they fail because of it.
DIFFERENT = {
    "A dead worker or a failed unpickling fails one call. It does not break the pool.": (
        "WorkerDied|UnpicklingError|SystemExit",
        [
            "ExecutorDeadlockTest.test_crash_at_task_unpickle",
            "ExecutorDeadlockTest.test_crash_big_data",
            "ExecutorDeadlockTest.test_crash_during_func_exec_on_worker",
            "ExecutorDeadlockTest.test_crash_during_result_pickle_on_worker",
            "ExecutorDeadlockTest.test_error_at_task_unpickle",
            "ExecutorDeadlockTest.test_error_during_result_unpickle_in_result_handler",
            "ExecutorDeadlockTest.test_exit_at_task_unpickle",
            "ExecutorDeadlockTest.test_exit_during_result_unpickle_in_result_handler",
            "ExecutorDeadlockTest.test_shutdown_deadlock",
        ],
    ),
    "The tests read private attributes such as `_processes` and `_max_workers`, which differ here.": (
        "has no attribute '_(processes|max_workers|mp_context|executor_manager_thread)'",
        [
            "ProcessPoolExecutorTest.test_idle_process_reuse_multiple",
            "ProcessPoolExecutorTest.test_idle_process_reuse_one",
            "ProcessPoolExecutorTest.test_killed_child",
            "ProcessPoolExecutorTest.test_max_tasks_per_child",
            "ProcessPoolExecutorTest.test_max_tasks_per_child_defaults_to_spawn_context",
            "ProcessPoolExecutorTest.test_saturation",
            "ProcessPoolShutdownTest.test_context_manager_shutdown",
            "ProcessPoolShutdownTest.test_del_shutdown",
            "ProcessPoolShutdownTest.test_processes_terminate",
            "ProcessPoolShutdownTest.test_shutdown_no_wait",
            "ExecutorDeadlockTest.test_shutdown_deadlock_pickle",
        ],
    ),
    "`shutdown(cancel_futures=True)` cancels all calls that have not begun. The standard one starts some more early.": (
        "0 not greater than 0",
        ["ProcessPoolShutdownTest.test_cancel_futures"],
    ),
    "The remote traceback is a note on the exception. `__cause__` keeps its value from the worker.": (
        "_RemoteTraceback",
        ["ProcessPoolExecutorTest.test_traceback"],
    ),
    "The error for a number below 1 has another text.": (
        'does not match "max_workers must be an integer of at least 1',
        ["ProcessPoolExecutorTest.test_max_workers_negative"],
    ),
    "The executor needs one thread only. If a second one cannot start, the calls still run.": (
        r"mul\(\) missing 1 required positional argument",  # which it only submits to have them refused
        ["ProcessPoolExecutorTest.test_python_finalization_error"],
    ),
    "`initargs` are pickled: a `multiprocessing.Queue` fails, that of a `multiprocessing.Manager` works.": (
        "Queue objects should only be shared between processes through inheritance",
        ["FailingInitializerTest.test_initializer"],
    ),
    "`max_tasks_per_child` works with `fork`, too.": (
        "ValueError not raised",
        ["ProcessPoolExecutorTest.test_max_tasks_per_child"],
    ),
    "These run `test_initializer`, and find its queue afterwards, because it fails.": (
        "1 != 0",
        ["FailingInitializerResourcesTest.test_forkserver", "FailingInitializerResourcesTest.test_spawn"],
    ),
}
LISTED: dict[str, str] = {}
for pattern, names in DIFFERENT.values():
    for name in names:  # one may fail in two ways, each with other start methods
        LISTED[name] = f"{LISTED[name]}|{pattern}" if name in LISTED else pattern
# Those that do not run, and why, in CPython's words.
SKIPPED = {
    "ProcessPoolExecutorTest.test_max_tasks_early_shutdown": "Incompatible with the fork start method",
    "ProcessPoolExecutorTest.test_max_workers_too_large": "Windows-only process limit",
    "ProcessPoolShutdownTest.test_hang_gh83386": "Hangs, see",
}

pytestmark = [
    pytest.mark.timeout(400),
    pytest.mark.skipif(sys.version_info[:2] != (3, 13), reason="the tests, and the list, are those of Python 3.13"),
]


@pytest.fixture(scope="module")
def outcomes() -> dict[tuple[str, str], dict[str, str]]:
    """What became of each test; of several modules at a time, for most of what they do is to wait."""
    try:
        import_module("test.test_concurrent_futures.util")
    except ImportError as error:
        missing = f"{sys.executable} comes without the package test.test_concurrent_futures: {error}"
        if "CI" in os.environ:
            pytest.fail(missing)
        pytest.skip(missing)
    with ThreadPoolExecutor(4) as executor:
        return dict(zip(RUNS, executor.map(run, *zip(*RUNS, strict=True)), strict=True))


def run(module: str, method: str) -> dict[str, str]:
    command = [sys.executable, str(HERE / "cpython_for_processes.py"), module, method]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    found: dict[str, str] = {}
    for line in done.stdout.splitlines():
        name, outcome, text, _ = json.loads(line)
        if not found.get(name, "").startswith("failed"):
            found[name] = f"{outcome} {text}"
    return found


@pytest.mark.parametrize(("module", "method"), RUNS)
def test_cpythons_own_tests_pass_but_for_those_listed(module: str, method: str, outcomes) -> None:
    found = outcomes[module, method]
    assert any(outcome.startswith("passed") for outcome in found.values())
    failed = {name: outcome for name, outcome in found.items() if outcome.startswith("failed")}
    assert [each for each in failed.items() if not re.search(LISTED.get(each[0], "$^"), each[1])] == []
    skipped = {name: outcome for name, outcome in found.items() if outcome.startswith("skipped")}
    assert [each for each in skipped.items() if SKIPPED.get(each[0], "?") not in each[1]] == []
    assert [name for name in LISTED if found.get(name, "").startswith("passed")] == []


def test_all_that_is_listed_is_there(outcomes) -> None:
    assert {name for found in outcomes.values() for name in found} >= LISTED.keys() | SKIPPED.keys()


def test_the_list_is_published() -> None:
    readme = " ".join((HERE.parent / "README.md").read_text(encoding="utf-8").split())
    for reason, (_, names) in DIFFERENT.items():
        assert reason in readme
        for name in names:
            assert f"`{name.partition('.')[2]}`" in readme
    for name in SKIPPED:
        assert f"`{name.partition('.')[2]}`" in readme
