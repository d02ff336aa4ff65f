"""A program whose current directory has been deleted."""

from __future__ import annotations

import subprocess
import sys

import pytest

PROGRAM = """
import multiprocessing, operator, os, tempfile
from amltk import PynisherPlugin, Scheduler

{before}
options = {options}
if "mp_context" in options:
    options["mp_context"] = multiprocessing.get_context(options["mp_context"])
scheduler = Scheduler.with_backend("{backend}", **options)
task = scheduler.task(operator.neg, plugins={plugins})
outcomes = set()
task.on_result(lambda _, result: outcomes.add(result))
task.on_exception(lambda _, error: outcomes.add(f"{{type(error).__name__}} {{error}}"))

@scheduler.on_start
def start():
    {at_start}
    for number in range(3):
        task(number)

try:
    print(scheduler.run(timeout=50, wait=False, on_exception="ignore").code.value, *sorted(outcomes, key=str))
except FileNotFoundError as error:
    print(type(error).__name__, error)
"""
DELETE = "os.chdir(tempfile.mkdtemp()); os.rmdir(os.getcwd())"


def run(backend: str, options: object = None, *, plugins: str = "()", **when: str) -> str:
    when = {"before": "", "at_start": "", **when}
    code = PROGRAM.format(backend=backend, options=options or {}, plugins=plugins, **when)
    done = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, timeout=55, check=True)
    return done.stdout.strip()


@pytest.mark.parametrize("when", ["before", "at_start"])
@pytest.mark.parametrize(
    ("backend", "options"),
    [
        ("sequential", {}),
        ("threads", {}),
        ("processes", {"mp_context": "forkserver"}),
        ("processes", {"mp_context": "spawn"}),
        ("processes", {"mp_context": "fork"}),
        ("dask", {"n_workers": 1}),
    ],
)
def test_calls_run(backend, options, when):
    assert run(backend, options, **{when: DELETE}) == "exhausted -1 -2 0"


@pytest.mark.ray
def test_calls_of_ray_run_if_it_is_deleted_when_ray_is_there():
    assert run("ray", {"max_workers": 1}, at_start=DELETE) == "exhausted -1 -2 0"


@pytest.mark.ray
def test_ray_says_what_is_missing_before_anything_starts():
    said = run("ray", {"max_workers": 1}, before=DELETE)
    assert said.startswith(
        "FileNotFoundError [Errno 2] No such file or directory: with_ray needs the program's current"
    )
    assert "with os.chdir()" in said


def test_limited_calls_run():
    assert run("threads", plugins="PynisherPlugin(walltime_limit=50)", before=DELETE) == "exhausted -1 -2 0"


@pytest.mark.parametrize("when", ["before", "at_start"])
def test_loky_says_what_is_missing(when):
    said = run("loky", {"max_workers": 1}, **{when: DELETE})
    assert said.startswith(
        "exhausted FileNotFoundError [Errno 2] No such file or directory: loky starts its workers in "
    )
    assert "which has been deleted. Change to an existing one, with os.chdir()" in said


@pytest.mark.parametrize(("backend", "ok"), [("processes", True), ("loky", False)])
def test_the_doctor_examines_there(backend, ok, tmp_path):
    gone = tmp_path / "gone"
    gone.mkdir()
    doctor = f"from amltk.cli import main; sys.exit(main(['doctor', '{backend}']))"
    command = [sys.executable, "-c", f"import os, sys; os.rmdir({str(gone)!r}); {doctor}"]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, timeout=55, check=False, cwd=gone)
    assert (done.returncode == 0) is ok
    assert ("6 * 7 gave 42" if ok else "os.chdir()") in done.stdout
