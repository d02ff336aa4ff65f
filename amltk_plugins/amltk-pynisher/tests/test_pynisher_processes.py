"""The process of a limited call: when it is a fork, what it begins with, and how its outcome leaves it."""

from __future__ import annotations

import ctypes
import logging
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import threading
import time
from multiprocessing import shared_memory
from pathlib import Path

import pynisher
import pytest
from pynisher_calls import FOREVER, double, draw_number, here, in_thread, limited

from amltk import PynisherPlugin, Scheduler
from amltk.exceptions import WorkerDied
from amltk_pynisher import _call, _forking

somewhere = pytest.mark.parametrize("call", [here, in_thread])


# Threads of OpenMP

OPENMP = f"""
import ctypes, os, sys
sys.path.insert(0, {str(Path(__file__).parent)!r})

def threads():
    return len(os.listdir("/proc/self/task"))

def loop():
    ctypes.CDLL("libgomp.so.1").GOMP_parallel(ctypes.CDLL(None).getpid, None, 3, 0)
    return os.getppid(), threads()
"""


def openmp_or_skip():
    try:
        return ctypes.CDLL("libgomp.so.1").omp_pause_resource_all
    except (OSError, AttributeError):
        pytest.skip("GCC's OpenMP 9 or later is not here")


def run_script(text, *args, **env):
    done = subprocess.run(
        [sys.executable, "-c", OPENMP + text, *args],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
        env={**os.environ, **env},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_where_openmp_has_threads_a_call_is_a_fork_all_the_same():
    openmp_or_skip()
    before, during, after, parent = run_script("""
from pynisher_calls import limited
assert "amltk_pynisher._call" not in sys.modules
function = limited(loop, wall=60)
loop()
print(threads())
parent, during = function()
print(during)
loop()
print(threads())
print(parent == os.getpid() and "amltk_pynisher._call" in sys.modules and function()[1] == 3)
""")
    assert (before, during, after, parent) == ("3", "3", "3", "True")


@pytest.mark.parametrize("backend", ["sequential", "processes"])
def test_an_error_of_a_call_after_openmp_arrives_and_pays_for_no_import(backend, tmp_path):
    """The module takes longer to import than a call may."""
    openmp_or_skip()
    (tmp_path / "slow_to_import.py").write_text(
        "import time; time.sleep(2)\ndef check(): raise ValueError('at once')\n"
    )
    lines = run_script(
        """
from amltk import PynisherPlugin, Scheduler
sys.path.insert(0, sys.argv[2])
scheduler = Scheduler.with_backend(sys.argv[1], **({} if sys.argv[1] == "sequential" else {"max_workers": 1}))

def prepare():
    import slow_to_import
    return loop()

def fail():
    import slow_to_import
    loop()
    slow_to_import.check()

warm = scheduler.task(prepare)
task = scheduler.task(fail, plugins=PynisherPlugin(walltime_limit=1.5))
scheduler.on_start(warm)
warm.on_result(lambda _, result: [task() for _ in range(3)])
task.on_exception(lambda _, error: print(type(error).__name__, error))
scheduler.run(on_exception="ignore")
""",
        backend,
        str(tmp_path),
    )
    assert lines == ["ValueError at once"] * 3


def test_an_openmp_that_cannot_end_its_threads_is_an_obstacle(monkeypatch):
    paused = []
    monkeypatch.setattr(threading, "active_count", lambda: 1)  # whatever other tests have left
    monkeypatch.setattr(_forking, "_pause", paused.append)
    monkeypatch.setattr(_forking.Path, "iterdir", lambda self: [1, 2])
    maps = "7f00-7f01 r-xp 0 0:0 1  /x/my packages/a.libs/libgomp-a34.so.1\n7f00-7f01 rw-p 0 0:0 0\n"
    monkeypatch.setattr(_forking.Path, "read_text", lambda self: maps)
    assert "OMP_NUM_THREADS=1" in _forking.obstacle()
    assert paused == ["/x/my packages/a.libs/libgomp-a34.so.1"]


# Fresh interpreters

SLOW = """
import time
end = time.process_time() + 0.7
while time.process_time() < end: pass
time.sleep(2)
def fail():
    raise ValueError("at once")
"""


@pytest.fixture
def slow_module(tmp_path, monkeypatch):
    """A function whose module takes longer to import, in the process of a call, than the call may take."""
    (tmp_path / "slow_limited.py").write_text(SLOW)
    monkeypatch.syspath_prepend(tmp_path)
    import slow_limited

    yield slow_limited.fail
    del sys.modules["slow_limited"]


def test_loading_a_call_does_not_count_and_is_warned_of_once(slow_module, monkeypatch, caplog):
    monkeypatch.setattr(_call, "_warned", threading.Lock())
    for _ in range(2):
        with pytest.raises(ValueError, match="at once"):
            in_thread(limited(slow_module, wall=2))
    warned = [record.getMessage() for record in caplog.records if record.name == "amltk_pynisher"]
    assert len(warned) == 1
    assert "Each limited call of fail needs" in warned[0]
    assert "has other threads (MainThread" in warned[0]


def test_loading_does_not_count_as_cpu_time(slow_module):
    def sleep_first(function):
        end = time.process_time() + 0.6
        while time.process_time() < end:
            pass
        function()

    with pytest.raises(ValueError, match="at once"):
        in_thread(limited(sleep_first, cpu=1), slow_module)


def test_a_module_that_never_gets_imported_is_ended(tmp_path, monkeypatch):
    (tmp_path / "stuck_limited.py").write_text(
        "import os, time\nif 'STUCK' in os.environ: time.sleep(600)\ndef work(): pass\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    import stuck_limited

    monkeypatch.setenv("STUCK", "1")
    monkeypatch.setattr("amltk_pynisher._child.LOADING_SECONDS", 1)
    with pytest.raises(pynisher.WallTimeoutException):
        in_thread(limited(stuck_limited.work, wall=0.5))
    del sys.modules["stuck_limited"]


# Outcomes


@somewhere
def test_an_outcome_counts_whatever_the_process_does_then(call):
    def work():
        import atexit

        atexit.register(time.sleep, FOREVER)
        threading.Thread(target=time.sleep, args=(FOREVER,)).start()
        signal.signal(signal.SIGALRM, lambda *_: 1 / 0)
        signal.setitimer(signal.ITIMER_REAL, 0.001)
        try:
            return b"x" * (10 << 20)
        except ZeroDivisionError:
            return b"x" * (10 << 20)

    for _ in range(3):
        try:
            assert len(call(limited(work, wall=40))) == 10 << 20
        except ZeroDivisionError:  # an alarm came before the function had returned
            continue


def test_an_outcome_that_comes_when_the_time_is_over_is_never_another(until):
    """Either the error or the limit, whatever moment it is; and soon."""

    def fail(seconds):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            pass
        raise ValueError(seconds)

    for number in range(20):
        with pytest.raises((ValueError, pynisher.WallTimeoutException)):
            limited(fail, wall=0.05)(0.04 + number / 1000)


@somewhere
def test_a_call_that_closes_all_descriptors_is_an_error_that_says_so(call):
    def work():
        os.closerange(3, 256)
        time.sleep(FOREVER)

    with pytest.raises(WorkerDied, match="work has closed all descriptors, its process's pipe included"):
        call(limited(work, wall=40))


def test_a_file_that_got_the_number_of_the_pipe_is_not_written_to(tmp_path):
    def work():
        keeper = os.fork()  # keeps the pipe open, so that nobody is told yet
        if not keeper:
            time.sleep(FOREVER)
        os.closerange(3, 256)
        files = [os.open(tmp_path / str(number), os.O_CREAT | os.O_WRONLY) for number in range(30)]
        logging.getLogger("lib").error("a record")
        return len(files)

    with pytest.raises(WorkerDied):
        in_thread(limited(work, wall=40))
    assert {path.read_bytes() for path in tmp_path.iterdir()} == {b""}


# What a call finds in its process


def test_random_numbers_differ_from_call_to_call_and_can_be_repeated():
    draw = limited(draw_number, wall=30)
    random.seed(0)
    first = [draw() for _ in range(3)]
    random.seed(0)
    assert [draw() for _ in range(3)] == first
    assert len(set(first)) == 3


def test_random_numbers_in_fresh_interpreters_can_be_repeated():
    draw = limited(draw_number, wall=30)
    random.seed(0)
    first = [in_thread(draw), in_thread(draw)]
    random.seed(0)
    assert [in_thread(draw), in_thread(draw)] == first
    assert first[0] != first[1]


def test_workers_draw_numbers_of_their_own():
    scheduler = Scheduler.with_processes(1)
    task = scheduler.task(draw_number, plugins=PynisherPlugin(walltime_limit=30))
    numbers = []
    task.on_result(lambda _, number: numbers.append(number))
    scheduler.on_start(lambda: [task() for _ in range(4)])
    scheduler.run()
    assert len(set(numbers)) == 4


@somewhere
def test_a_managers_proxies_work(call):
    with multiprocessing.get_context("spawn").Manager() as manager:
        shared = manager.list()
        call(limited(lambda values: values.append(os.getpid()), wall=60), shared)
        call(limited(lambda values: values.append(os.getpid()), wall=60), shared)
        assert len(set(shared)) == 2
    multiprocessing.resource_tracker._resource_tracker._stop()


@somewhere
def test_a_segment_of_shared_memory_outlives_the_call_that_attaches_it(call):
    def attach(name):
        segment = shared_memory.SharedMemory(name)
        value = segment.buf[0]
        segment.close()
        return value

    segment = shared_memory.SharedMemory(create=True, size=8)
    try:
        segment.buf[0] = 42
        assert [call(limited(attach, wall=60), segment.name) for _ in range(2)] == [42, 42]
        again = shared_memory.SharedMemory(segment.name)
        again.close()
    finally:
        segment.close()
        segment.unlink()
        multiprocessing.resource_tracker._resource_tracker._stop()


@somewhere
def test_settings_of_the_program_hold_in_a_call(call, monkeypatch):
    def settings():
        return sys.argv, sys.getrecursionlimit(), multiprocessing.current_process().name

    monkeypatch.setattr(sys, "argv", ["program", "--option"])
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(limit + 77)
    name = multiprocessing.current_process().name
    multiprocessing.current_process().name = "a worker"
    try:
        assert call(limited(settings, wall=30)) == (["program", "--option"], limit + 77, "a worker")
    finally:
        sys.setrecursionlimit(limit)
        multiprocessing.current_process().name = name


def test_a_call_within_limits_may_limit_another():
    assert limited(lambda: limited(double, wall=30)(21), wall=60)() == 42
