"""An error, an exit and a crash, at each station of a call: the right failure each time, of that call alone."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from calls_for_processes import add
from troubles_for_processes import IN_THE_MAIN_PROCESS, PLACES

from amltk.exceptions import WorkerDied
from amltk_processes import ProcessPoolExecutor

ERRORS = {"error": ZeroDivisionError, "exit": SystemExit, "crash": WorkerDied}
NOTES = {
    "pickle the argument": "Raised while args[0] (of type WhenPickled) in a call of take was pickled.",
    "unpickle the argument": "Raised while the call was unpickled in worker process",
    "run": "Remote traceback",
    "pickle the result": "Raised while what return_what_fails_to_pickle returned, at result (of type WhenPickled)",
    "unpickle the result": "Raised while what return_what_fails_to_unpickle returned was unpickled in the main process",
}


@pytest.mark.parametrize("method", ["forkserver", "spawn", "fork"])
@pytest.mark.parametrize(
    ("kind", "place"),
    # A crash in the main process is that of all: the next test.
    [(kind, place) for place in PLACES for kind in ERRORS if kind != "crash" or place not in IN_THE_MAIN_PROCESS],
)
def test_trouble_is_the_failure_of_that_call_alone(kind: str, place: str, method: str) -> None:
    fn, argument = PLACES[place](kind)
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context(method)) as executor:
        before = executor.submit(os.getpid)
        others = [executor.submit(add, i) for i in range(10)]
        failing = executor.submit(fn, argument)
        others += [executor.submit(add, i) for i in range(10)]
        after = executor.submit(os.getpid)
        error = failing.exception()
        assert type(error) is ERRORS[kind]
        if kind == "crash":
            assert error.signal is signal.SIGABRT
        else:
            assert kind in str(error)
            assert any(NOTES[place] in note for note in error.__notes__)
        assert [other.result() for other in others] == [*range(1, 11)] * 2
        assert (before.result() == after.result()) == (kind != "crash")


@pytest.mark.parametrize("place", sorted(IN_THE_MAIN_PROCESS))
def test_a_crash_of_the_main_process_leaves_no_worker(place: str, until) -> None:
    script = f"""
import sys
from amltk_processes import ProcessPoolExecutor
from troubles_for_processes import PLACES
import os, time
executor = ProcessPoolExecutor(2)
busy = executor.submit(time.sleep, 600)
print(executor.submit(os.getpid).result(), flush=True)
sys.stdin.readline()
fn, argument = PLACES[{place!r}]("crash")
executor.submit(fn, argument).result()
"""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}
    with subprocess.Popen(
        [sys.executable, "-c", script],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as main:
        pid = int(main.stdout.readline())
        family = psutil.Process(main.pid).children(recursive=True)
        assert pid in {process.pid for process in family}
        assert len(family) == 3
        main.communicate("now\n", timeout=30)
        assert main.returncode == -signal.SIGABRT
        until(lambda: not any(process.is_running() and process.status() != "zombie" for process in family))
