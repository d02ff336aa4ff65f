"""Proxies of a `multiprocessing.Manager` in workers, whatever the program has done with them before."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

START_METHODS = ["forkserver", "spawn", "fork"]

SCRIPT = """
import multiprocessing, sys
from amltk_processes import ProcessPoolExecutor

def put(value, proxy=None):
    (values if proxy is None else proxy).append(value)

def count(lock, found):
    with lock:
        found["n"] = found.get("n", 0) + 1

if __name__ == "__main__":
    method = sys.argv[1]
    context = multiprocessing.get_context(method)
    with multiprocessing.Manager() as manager:
        values, lock, found = manager.list(), manager.Lock(), manager.dict()
        put(0)
        count(lock, found)
        with ProcessPoolExecutor(2, context, initializer=count, initargs=(lock, found)) as executor:
            calls = [executor.submit(put, i, values) for i in range(1, 6)]
            if method == "fork":  # what it refers to is there
                calls += [executor.submit(put, i) for i in range(6, 9)]
            calls += [executor.submit(count, lock, found) for _ in range(6)]
            for call in calls:
                call.result(timeout=60)
        put(9)
        print(sorted(values), found["n"] in (8, 9))
"""


@pytest.mark.parametrize("method", START_METHODS)
def test_a_proxy_that_was_used_before_works_in_workers(tmp_path: Path, method: str) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    done = subprocess.run([sys.executable, script, method], timeout=100, capture_output=True, text=True, check=False)
    values = [*range(6), *([6, 7, 8] if method == "fork" else []), 9]
    assert (done.stdout, done.stderr) == (f"{values} True\n", "")
