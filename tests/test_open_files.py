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
