"""Programs in which gevent has replaced modules of Python."""

from __future__ import annotations

import subprocess
import sys

import pytest

PROGRAM = """
import gevent.monkey; gevent.monkey.patch_all({patch})
import operator
from amltk import Scheduler

scheduler = Scheduler.with_backend("{backend}")
task = scheduler.task(operator.neg)
results = []
task.on_result(lambda _, result: results.append(result))
scheduler.on_start(lambda: [task(number) for number in range(3)])
try:
    print(scheduler.run(timeout=30, wait=False).code.value, sorted(results))
except Exception as error:
    print(type(error).__name__, error)
"""


def run(backend: str, patch: str = "") -> str:
    code = PROGRAM.format(backend=backend, patch=patch)
    return subprocess.run(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, timeout=50, check=True
    ).stdout


@pytest.mark.parametrize("backend", ["sequential", "threads", "processes"])
def test_calls_run(backend):
    assert run(backend) == "exhausted [-2, -1, 0]\n"


@pytest.mark.parametrize(("backend", "patched"), [("loky", "threading"), ("dask", "threading, select")])
def test_what_would_hang_or_fail_is_refused_in_a_sentence(backend, patched):
    said = run(backend)
    assert said.startswith(f"NotSupportedError with_{backend} can't run where gevent.monkey has replaced {patched}. ")
    assert "Use with_processes or with_threads" in said


def test_without_patched_threads_loky_runs_them():
    assert run("loky", "thread=False") == "exhausted [-2, -1, 0]\n"
