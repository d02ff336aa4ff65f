"""Programs with very many open files, and programs that may open very few."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

BEGIN = """
import os, resource, sys
from amltk import Scheduler

_, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 4096), hard))
held = [open(os.devnull) for _ in range(1500)]
"""

RUN = (
    BEGIN
    + """
import psutil

scheduler = Scheduler.with_backend("{backend}", **{options})
task = scheduler.task(os.getpid)
pids = []
task.on_result(lambda _, pid: pids.append(pid))
scheduler.on_start(lambda: [task() for _ in range(3)])
print(scheduler.run(timeout=50, wait=False).code.value, len(pids))
assert not [pid for pid in set(pids) - {{os.getpid()}} if psutil.pid_exists(pid)]
"""
)

EXAMINE = (
    BEGIN
    + """
from amltk.cli import main

sys.exit(main(["doctor", "sequential"]))
"""
)


FEW = """
import collections, os, resource, sys, time
from amltk import Scheduler

def work():
    time.sleep(0.02)
    return os.getpid()

scheduler = Scheduler.with_loky(60)
task = scheduler.task(work)
counts, told, pids = collections.Counter(), set(), set()
task.on_result(lambda _, pid: (counts.update(["ran"]), pids.add(pid)))
task.on_exception(lambda _, error: (counts.update(["failed"]), told.add(str(error))))
_, hard = resource.getrlimit(resource.RLIMIT_NOFILE)

if {few}:
    resource.setrlimit(resource.RLIMIT_NOFILE, ({few}, hard))

@scheduler.on_start
def start():
    if not {few}:
        resource.setrlimit(resource.RLIMIT_NOFILE, (len(os.listdir("/proc/self/fd")) + 2, hard))
    for _ in range(60):
        task()

print(scheduler.run(timeout=50, wait=False, on_exception="ignore").code.value, dict(counts), 0 < len(pids) < 60)
print(*told, sep="\\n")
"""


def run(code: str, folder: Path) -> tuple[str, str]:
    script = folder / "script.py"
    script.write_text(code)
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=55, check=False)
    return done.stdout, done.stderr


@pytest.mark.parametrize(
    ("backend", "options"),
    [
        ("loky", {"max_workers": 2}),
        ("dask", {"n_workers": 2}),
        ("processes", {"max_workers": 2}),
        pytest.param("ray", {"max_workers": 1}, marks=pytest.mark.ray),
    ],
)
def test_calls_run_in_a_program_with_very_many_open_files(backend, options, tmp_path):
    assert run(RUN.format(backend=backend, options=options), tmp_path) == ("exhausted 3\n", "")


def test_the_doctor_examines_in_such_a_program(tmp_path):
    said, errors = run(EXAMINE, tmp_path)
    assert "6 * 7 gave 42" in said
    assert errors == ""


def test_loky_goes_on_with_the_workers_that_it_could_start(tmp_path):
    said, warned = run(FEW.format(few=40), tmp_path)
    assert said == "exhausted {'ran': 60} True\n\n"
    (line,) = warned.splitlines()  # told once
    assert line.startswith("with_loky goes on with ")
    assert (
        "of 60 workers: [Errno 24] Too many open files: loky can't start a worker. The limit is 40 open files" in line
    )


def test_without_any_worker_each_call_says_which_limit_it_was(tmp_path):
    said, _ = run(FEW.format(few=0), tmp_path)
    outcome, told = said.splitlines()
    assert outcome == "exhausted {'failed': 60} False"
    assert "open files ('ulimit -n'), of which a worker takes 15; raise it, or have fewer." in told


def test_dask_says_before_anything_starts_that_the_limit_is_too_low(tmp_path):
    _, error = run(FEW.format(few=100).replace("with_loky(60)", "with_dask(60)"), tmp_path)
    last = error.splitlines()[-1]
    assert last.startswith("OSError: [Errno 24] Too many open files: with_dask needs at least 495 open files for 60")
    assert "and the limit is 100 ('ulimit -n')" in last
