"""Calls fork, and their forks fork: nothing of the pool's is closed twice, and nothing that is the user's."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
from multiprocessing import resource_tracker
from pathlib import Path

import pytest
from calls_for_processes import add

from amltk.forks import fork
from amltk_processes import ProcessPoolExecutor

START_METHODS = ["forkserver", "spawn", "fork"]
FORK = multiprocessing.get_context("fork")


@pytest.fixture(scope="module", autouse=True)
def _tracker() -> None:
    """Start the program's resource tracker: in Python 3.15, processes that calls start ask for it, and it stays."""
    resource_tracker.ensure_running()


def use_files(generations: int, folder: Path) -> None:
    """Open files, which get the numbers of all that was closed; fork, and see that they are still there."""
    files = [(folder / f"{generations}-{i}").open("w") for i in range(30)]
    if generations:
        child = FORK.Process(target=use_files, args=(generations - 1, folder))
        child.start()
        child.join()
        assert child.exitcode == 0
    for file in files:
        file.write("x")
        file.close()


def fork_plainly(generations: int, folder: Path) -> None:
    files = [(folder / f"{generations}-{i}").open("w") for i in range(30)]
    if generations:
        pid = fork()
        if pid == 0:
            code = 1
            try:
                fork_plainly(generations - 1, folder)
                code = 0
            finally:
                os._exit(code)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    for file in files:
        file.write("x")
        file.close()


@pytest.mark.parametrize("function", [use_files, fork_plainly])
@pytest.mark.parametrize("method", START_METHODS)
def test_forks_of_forks_keep_the_files_of_a_call(tmp_path: Path, method: str, function) -> None:
    with ProcessPoolExecutor(1, multiprocessing.get_context(method)) as executor:
        for _ in range(2):
            executor.submit(function, 3, tmp_path).result(timeout=60)
        assert executor.submit(add, 1).result(timeout=60) == 2
    assert {path.read_text() for path in tmp_path.iterdir()} == {"x"}


def pool_inside(method: str, levels: int) -> list[int]:
    with ProcessPoolExecutor(2, multiprocessing.get_context(method)) as executor:
        calls = [executor.submit(pool_inside, method, levels - 1) for _ in range(2)] if levels else []
        sums = [executor.submit(add, i).result(timeout=60) for i in range(3)]
        return [*sums, *(call.result(timeout=60)[0] for call in calls)]


@pytest.mark.parametrize("outer", START_METHODS)
@pytest.mark.parametrize("inner", START_METHODS)
def test_a_pool_works_inside_of_a_pool(outer: str, inner: str) -> None:
    with ProcessPoolExecutor(1, multiprocessing.get_context(outer)) as executor:
        for _ in range(2):
            assert executor.submit(pool_inside, inner, 1).result(timeout=100) == [1, 2, 3, 1, 1]
        assert executor.submit(add, 1).result(timeout=60) == 2


def test_a_program_that_forks_twice_keeps_its_files(tmp_path: Path) -> None:
    executor = ProcessPoolExecutor(2)
    executor.submit(add, 1).result()
    fork_plainly(2, tmp_path)
    assert executor.submit(add, 2).result() == 3
    executor.shutdown()


FORKS_BESIDE = """
import os, sys, threading, time
from amltk.forks import fork
from amltk_processes import ProcessPoolExecutor

def opened():
    found = set()
    for name in os.listdir("/proc/self/fd"):
        try:
            target = os.readlink(f"/proc/self/fd/{name}")
        except OSError:
            continue
        if target.startswith(("socket:", "pipe:", "anon_inode:")):
            found.add(target)
    return found

def fork_on():
    while not over:
        pid = fork()
        if pid == 0:
            try:
                os._exit(len(opened() - before))
            finally:
                os._exit(99)
        left.append(os.waitpid(pid, 0)[1])

over, left = [], []
before = opened()
threads = [threading.Thread(target=fork_on) for _ in range(2)]
for thread in threads:
    thread.start()
for _ in range(int(sys.argv[1])):
    with ProcessPoolExecutor(2, max_tasks_per_child=1) as executor:
        assert list(executor.map(abs, range(6))) == list(range(6))
over.append(True)
for thread in threads:
    thread.join()
assert len(left) > 10
print("left", max(left))
"""


def test_forks_beside_a_pool_have_none_of_its_descriptors(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(FORKS_BESIDE)
    done = subprocess.run(
        [sys.executable, "-W", "ignore", script, "6"], timeout=100, capture_output=True, text=True, check=False
    )
    assert (done.stdout, done.stderr) == ("left 0\n", "")
