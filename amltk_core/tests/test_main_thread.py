"""Runs in a thread that outlives the main thread of the program."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import pytest

PROGRAM = """
import threading, time
{imports}
from amltk import Scheduler

scheduler = {scheduler}

@scheduler.on_start
def start():
    print("started", flush=True)
    scheduler.submit(abs, -1)

@scheduler.on_future_result
def more(future, result):
    print("result", result, flush=True)
    again()

def again():
    if threading.main_thread().is_alive():
        scheduler.call_later(0.01, again)
    elif scheduler.event_counts["on_future_submitted"] == 1:
        scheduler.submit(abs, -2)

def work():
    {wait}
    try:
        print(scheduler.run(wait=False).code)
    except BaseException as error:
        print(type(error).__name__, error, *getattr(error, "__notes__", ()))

threading.Thread(target=work).start()
{last}
"""

AFTERWARDS = {"wait": "threading.main_thread().join(); time.sleep(0.05)", "last": ""}
MEANWHILE = {"wait": "pass", "last": "while not scheduler.event_counts['on_future_result']: time.sleep(0.01)"}
SENTENCE = "the main thread of the program has ended"


def outcome(scheduler, when, imports=""):
    program = textwrap.dedent(PROGRAM).format(scheduler=scheduler, imports=imports, **when)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=50, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


@pytest.mark.parametrize(
    ("scheduler", "imports"),
    [
        ("Scheduler.with_threads(1)", ""),
        ("Scheduler.with_threads(1)", "import concurrent.futures.thread"),
        ("Scheduler(ThreadPoolExecutor(1))", "from concurrent.futures import ThreadPoolExecutor"),
        ("Scheduler(ProcessPoolExecutor(1))", "from concurrent.futures import ProcessPoolExecutor"),
    ],
)
def test_a_run_that_begins_when_the_main_thread_has_ended_is_refused_before_anything_starts(scheduler, imports):
    said = outcome(scheduler, AFTERWARDS, imports)
    assert said.startswith("NotSupportedError ")
    assert SENTENCE in said
    assert "thread.join()" in said


@pytest.mark.parametrize(
    ("scheduler", "imports"),
    [
        ("Scheduler.with_sequential()", ""),
        ("Scheduler.with_processes(1)", ""),
        ("Scheduler(ManualExecutor())", "from amltk_testing import ManualExecutor"),
    ],
)
def test_what_does_not_need_the_main_thread_runs_without_it(scheduler, imports):
    if "Manual" in imports:
        scheduler = "Scheduler(manual := ManualExecutor()); scheduler.on_future_submitted(lambda _: manual.finish(-1))"
    assert outcome(scheduler, AFTERWARDS, imports).split("\n") == [
        "started", "result 1", "result 2", "Code.EXHAUSTED", ""
    ]  # fmt: skip


def test_a_run_whose_main_thread_ends_meanwhile_ends_with_what_it_submits_next():
    said = outcome("Scheduler.with_threads(1)", MEANWHILE)
    assert said.startswith("started\nresult 1\nRuntimeError cannot schedule new futures after ")
    assert SENTENCE in said


def test_a_call_that_fails_for_the_end_of_the_main_thread_says_so():
    late = "from concurrent.futures import Future, Executor"
    scheduler = """type("Late", (Executor,), {"submit": lambda *_: (future := Future(), future.set_exception(
        RuntimeError("cannot schedule new futures after interpreter shutdown")))[0]})()"""
    said = outcome(f"Scheduler({scheduler})", AFTERWARDS, late)
    assert said.startswith("started\nRuntimeError cannot schedule new futures")
    assert SENTENCE in said


def test_a_run_whose_main_thread_ends_meanwhile_goes_on_in_processes():
    said = outcome("Scheduler.with_processes(1)", MEANWHILE)
    assert said.split("\n") == ["started", "result 1", "result 2", "Code.EXHAUSTED", ""]
