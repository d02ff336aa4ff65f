"""What `PynisherPlugin` limits, on each backend, and what it tells about that."""

from __future__ import annotations

import contextlib
import os
import pickle
import signal
import subprocess
import sys
import threading
import time

import psutil
import pynisher
import pytest
from pynisher_calls import (
    Returned,
    double,
    here,
    in_thread,
    limited,
    many_bytes,
    needs,
    raise_in_local_class,
    sleep,
    spin,
    start_a_child_and_crash,
    start_family,
    start_family_and_sleep,
)

from amltk import ExitState, PynisherPlugin, Scheduler
from amltk.exceptions import RemoteError, WorkerDied

somewhere = pytest.mark.parametrize("call", [here, in_thread])


def gone(pid):
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def told(task):
    """Note each event of the plugin, with its exception."""
    events = []
    for event in ("pynisher-timeout", "pynisher-memory-limit", "pynisher-cputime-limit", "pynisher-walltime-limit"):
        task.on(event, lambda error, event=event: events.append((event, error)))
    return events


# Through the scheduler, on each backend


def test_calls_within_the_limits_return(scheduler):
    plugin = PynisherPlugin(memory_limit=(4, "GB"), cputime_limit=30, walltime_limit=(1, "m"))
    task = scheduler.task(double, plugins=plugin)
    events = told(task)
    results = []
    task.on_result(lambda _, result: results.append(result))
    scheduler.on_start(lambda: [task(x) for x in range(5)])
    assert scheduler.run().code is ExitState.Code.EXHAUSTED
    assert sorted(results) == [0, 2, 4, 6, 8]
    assert events == []


@pytest.mark.parametrize(
    ("limit", "function", "args", "exception", "expected"),
    [
        (
            {"walltime_limit": 0.3},
            sleep,
            (),
            PynisherPlugin.WallTimeoutException,
            [PynisherPlugin.TIMEOUT, PynisherPlugin.WALL_TIME_LIMIT_REACHED],
        ),
        (
            {"cputime_limit": 1},
            spin,
            (),
            PynisherPlugin.CpuTimeoutException,
            [PynisherPlugin.TIMEOUT, PynisherPlugin.CPU_TIME_LIMIT_REACHED],
        ),
        (
            {"memory_limit": (4, "GB")},
            needs,
            (5000,),
            PynisherPlugin.MemoryLimitException,
            [PynisherPlugin.MEMORY_LIMIT_REACHED],
        ),
    ],
    ids=["wall", "cpu", "memory"],
)
def test_a_limit_is_told_of_and_the_next_call_runs(scheduler, limit, function, args, exception, expected):
    task = scheduler.task(function, plugins=PynisherPlugin(**limit))
    other = scheduler.task(double)
    events = told(task)
    errors = []
    results = []
    task.on_exception(lambda _, error: errors.append((error, len(events))))
    task.on_done(lambda _: other(2))
    other.on_result(lambda _, result: results.append(result))
    scheduler.on_start(lambda: task(*args))
    assert scheduler.run(on_exception={exception: "ignore"}).code is ExitState.Code.EXHAUSTED
    [(error, before)] = errors
    assert type(error) is exception
    assert events == [(event, error) for event in expected]
    assert before == len(expected), "the plugin's events come before the callbacks of on_exception"
    assert all(task.event_counts[event] == 1 for event in expected)
    assert results == [4]


def test_a_timeout_can_be_ignored_by_its_class(scheduler):
    task = scheduler.task(sleep, plugins=PynisherPlugin(walltime_limit=0.2))
    scheduler.on_start(task)
    assert scheduler.run(on_exception={PynisherPlugin.TimeoutException: "ignore"}).code is ExitState.Code.EXHAUSTED
    with pytest.raises(PynisherPlugin.WallTimeoutException):
        scheduler.run(on_exception={PynisherPlugin.MemoryLimitException: "ignore"})


def test_closures_and_their_classes_work(scheduler):
    class LocalError(Exception):
        pass

    offset = 5

    def add(x):
        if x < 0:
            raise LocalError(x)
        return x + offset

    task = scheduler.task(add, plugins=PynisherPlugin(walltime_limit=30))
    outcomes = []
    task.on_result(lambda _, result: outcomes.append(result))
    task.on_exception(lambda _, error: outcomes.append((type(error), error.args)))
    scheduler.on_start(lambda: [task(1), task(-1)])
    scheduler.run(on_exception="ignore")
    assert sorted(outcomes, key=str) == [(LocalError, (-1,)), 6]


def test_lambdas_work(scheduler):
    task = scheduler.task(lambda x: x + 1, plugins=PynisherPlugin(walltime_limit=30))
    results = []
    task.on_result(lambda _, result: results.append(result))
    scheduler.on_start(lambda: task(1))
    scheduler.run()
    assert results == [2]


MAIN = """
import sys
from amltk import PynisherPlugin, Scheduler

class Mine(Exception):
    def __init__(self, a, b):
        super().__init__(a)
        self.b = b

class Point:
    made = 0
    def __init__(self, x):
        self.x = x

def work(x):
    if x < 0:
        raise Mine(x, "b")
    return Point(x)

kind, workers = sys.argv[1], {"max_workers": 2} if sys.argv[1] != "sequential" else {}
scheduler = Scheduler.with_backend(kind, **workers)
task = scheduler.task(work, plugins=PynisherPlugin(walltime_limit=30))
Point.made = 7

@task.on_result
def result(_, point):
    print("result", type(point) is Point, point.x, Point.made)

@task.on_exception
def failed(_, error):
    print("error", type(error) is Mine, error.args, error.b)

@task.on_result
def then(_, point):
    if point.x == 1:
        task(-1)

scheduler.on_start(lambda: task(1))
scheduler.run(on_exception="ignore")
"""


@pytest.mark.parametrize("backend", ["sequential", "threads", "processes"])
def test_functions_and_classes_of_a_script_without_a_guard(backend, tmp_path):
    script = tmp_path / "script.py"
    script.write_text(MAIN)
    done = subprocess.run([sys.executable, script, backend], capture_output=True, text=True, timeout=50, check=False)
    assert done.stderr == ""
    assert done.stdout.splitlines() == ["result True 1 7", "error True (-1,) b"]


@pytest.mark.parametrize("backend", ["threads", "processes"])
def test_stop_now_leaves_no_process(backend, tmp_path, until, caplog):
    scheduler = Scheduler.with_backend(backend, max_workers=1)
    task = scheduler.task(start_family_and_sleep, plugins=PynisherPlugin(walltime_limit=50))
    events = []
    task.on_cancelled(lambda _: events.append("cancelled"))
    task.on_exception(lambda _, error: events.append(error))

    def stop_when_it_runs():
        if (tmp_path / "child").exists():
            scheduler.stop()
        else:
            scheduler.call_later(0.01, stop_when_it_runs)

    scheduler.on_start(lambda: task(tmp_path))
    scheduler.on_start(stop_when_it_runs)
    started = time.monotonic()
    assert scheduler.run(wait=False).code is ExitState.Code.STOPPED
    assert time.monotonic() - started < 20
    assert events == ["cancelled"]
    for name in ("self", "child", "daemon"):
        pid = int((tmp_path / name).read_text())
        until(lambda pid=pid: gone(pid))
    # The thread sees that its call is over, and ends.
    until(lambda: not [thread for thread in threading.enumerate() if thread.name.startswith("ThreadPoolExecutor")])


def test_after_stop_now_the_next_run_is_limited_again(until):
    scheduler = Scheduler.with_threads(1)
    task = scheduler.task(double, plugins=PynisherPlugin(walltime_limit=30))
    results = []
    task.on_result(lambda _, result: results.append(result))
    scheduler.on_start(lambda: task(4))
    scheduler.run()
    scheduler.run()
    assert results == [8, 8]


def test_when_the_worker_is_killed_the_call_is_gone_too(tmp_path, until):
    scheduler = Scheduler.with_processes(1)
    task = scheduler.task(start_family_and_sleep, plugins=PynisherPlugin(walltime_limit=50))
    errors = []
    task.on_exception(lambda _, error: errors.append(error))

    def kill_when_it_runs():
        if (tmp_path / "child").exists():
            os.kill(int((tmp_path / "parent").read_text()), signal.SIGKILL)
        else:
            scheduler.call_later(0.01, kill_when_it_runs)

    scheduler.on_start(lambda: task(tmp_path))
    scheduler.on_start(kill_when_it_runs)
    scheduler.run(on_exception="ignore")
    assert [type(error) for error in errors] == [WorkerDied]
    until(lambda: gone(int((tmp_path / "self").read_text())))
    for name in ("child", "daemon"):  # the kernel kills only the call's own process with its parent
        with contextlib.suppress(ProcessLookupError):
            os.kill(int((tmp_path / name).read_text()), signal.SIGKILL)


# The limited function itself, in a fork (here) and in a fresh interpreter (in a thread)


@somewhere
def test_what_the_function_has_started_ends_with_it(call, tmp_path, until):
    with pytest.raises(pynisher.WallTimeoutException):
        call(limited(start_family_and_sleep, wall=2), tmp_path)
    for name in ("self", "child", "daemon"):
        pid = int((tmp_path / name).read_text())
        until(lambda pid=pid: gone(pid))  # what is killed takes a moment to go


@somewhere
def test_what_the_function_leaves_behind_ends_too(call, tmp_path, until):
    call(limited(start_family, wall=30), tmp_path)
    for name in ("self", "child", "daemon"):
        pid = int((tmp_path / name).read_text())
        until(lambda pid=pid: gone(pid))  # what is killed takes a moment to go


@somewhere
def test_what_a_crashing_function_leaves_behind_ends_too(call, tmp_path, until):
    with pytest.raises(WorkerDied) as caught:
        call(limited(start_a_child_and_crash, wall=30), tmp_path)
    assert caught.value.signal is signal.SIGSEGV
    until(lambda: gone(int((tmp_path / "child").read_text())))


@somewhere
def test_a_crash_under_a_memory_limit_counts_as_one_of_memory(call, tmp_path, until):
    with pytest.raises(pynisher.MemoryLimitException, match="SIGSEGV under a memory limit"):
        call(limited(start_a_child_and_crash, memory=(4, "GB")), tmp_path)
    until(lambda: gone(int((tmp_path / "child").read_text())))


@somewhere
@pytest.mark.parametrize(("how", "expected"), [(lambda: os._exit(3), WorkerDied), (lambda: sys.exit(3), SystemExit)])
def test_an_exit_of_the_function_is_the_calls(call, how, expected):
    with pytest.raises(expected, match="3"):
        call(limited(how, wall=30))


@somewhere
def test_an_exception_of_a_class_that_is_local_there(call):
    with pytest.raises(Exception, match="local") as caught:
        call(limited(raise_in_local_class, wall=30))
    assert not isinstance(caught.value, RemoteError)
    assert type(caught.value).__name__ == "LocalError"


def raise_memory_error():
    msg = "of the user"
    raise MemoryError(msg)


def test_a_memory_error_without_a_memory_limit_is_the_functions_own():
    with pytest.raises(MemoryError, match="of the user") as caught:
        limited(raise_memory_error, wall=30)()
    assert type(caught.value) is MemoryError


def ignore_sigxcpu():
    signal.signal(signal.SIGXCPU, signal.SIG_IGN)
    spin()


def test_the_cpu_limit_can_not_be_ignored():
    with pytest.raises(pynisher.CpuTimeoutException):
        limited(ignore_sigxcpu, cpu=1)()


def test_sleep_uses_no_cpu_time():
    assert limited(lambda: time.sleep(1.5), cpu=1)() is None


@somewhere
def test_results_of_classes_and_functions_by_value(call):
    class Local:
        pass

    assert type(call(limited(Local, wall=30))) is Local
    assert type(call(limited(lambda: Returned(1), wall=30))) is Returned
    assert call(limited(lambda: lambda x: x + 1, wall=30))(1) == 2


def test_a_class_by_value_is_not_changed_by_its_way_there_and_back():
    log = []

    class Logs:
        def note(self):
            log.append(1)

    logs = in_thread(limited(Logs, wall=30))
    logs.note()
    assert log == [1]


@somewhere
def test_a_result_that_can_not_be_pickled_is_an_error_that_says_so(call):
    with pytest.raises(pickle.PicklingError, match="The result of the call, of type lock, cannot be pickled"):
        call(limited(threading.Lock, wall=30))


def test_an_argument_that_can_not_be_pickled_is_an_error_that_says_so(monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr("amltk_pynisher._forking.obstacle", lambda: None)  # threads of other tests may be one
        assert limited(lambda lock: 1, wall=30)(threading.Lock()) == 1, "a fork has it"
    with pytest.raises(pickle.PicklingError, match="A limited call runs in another process"):
        in_thread(limited(lambda lock: 1, wall=30), threading.Lock())


@somewhere
def test_large_arguments(call):
    assert call(limited(len, wall=30), bytes(20 << 20)) == 20 << 20


def test_a_fork_that_is_warned_of_goes_on(forks_warn, monkeypatch):
    monkeypatch.setattr("amltk_pynisher._forking.obstacle", lambda: None)  # threads of other tests may be one
    assert limited(abs, wall=30)(-3) == 3


def test_warnings_of_how_pynisher_is_written_are_no_errors(tmp_path):
    """Python 3.14 has one when it compiles pynisher, as where it cannot store what it has compiled."""
    options = ["-B", "-W", "error", "-X", f"pycache_prefix={tmp_path}"]
    command = [sys.executable, *options, "-c", "import amltk; amltk.PynisherPlugin"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=50, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_output_comes_out_once(capfd):
    sys.stdout.write("before ")
    limited(lambda: sys.stdout.write("inside\n"), wall=30)()
    assert capfd.readouterr().out == "before inside\n"


def test_the_function_reads_an_empty_input():
    assert limited(lambda: os.read(0, 10), wall=30)() == b""


def test_asyncio_works_inside():
    import asyncio

    async def add(x):
        await asyncio.sleep(0.001)
        return x + 1

    scheduler = Scheduler.with_sequential()
    task = scheduler.task(lambda x: asyncio.run(add(x)), plugins=PynisherPlugin(walltime_limit=30))
    results = []
    task.on_result(lambda _, result: results.append(result))
    scheduler.on_start(lambda: task(1))
    scheduler.run()
    assert results == [2]


def test_forks_draw_different_numbers():
    numpy_random = pytest.importorskip("numpy").random
    draw = limited(numpy_random.random, wall=30)
    assert draw() != draw()
    numpy_random.seed(0)
    first = [draw(), draw()]
    numpy_random.seed(0)
    assert [draw(), draw()] == first, "a seed of the worker's makes its calls repeatable"


# The plugin itself


def test_without_limits_it_changes_nothing():
    plugin = PynisherPlugin()
    assert plugin.pre_submit(double, 1, x=2) == (double, (1,), {"x": 2})


def test_units():
    plugin = PynisherPlugin(memory_limit=(1.5, "kb"), cputime_limit=(0.5, "M"), walltime_limit=(1, "h"))
    assert plugin.limits == (1536, 30, 3600)
    assert PynisherPlugin(cputime_limit=1.2).limits.cpu_time == 2, "the system counts whole seconds"
    assert PynisherPlugin(memory_limit=1 << 30).limits.memory == 1 << 30


def test_its_repr_shows_the_limits():
    plugin = PynisherPlugin(memory_limit=(2, "GB"), cputime_limit=3, walltime_limit=(1.5, "m"))
    assert repr(plugin) == "PynisherPlugin(memory: 2048 MB, cpu time: 3 s, wall time: 90 s)"
    assert repr(PynisherPlugin()) == "PynisherPlugin(no limits)"


@pytest.mark.parametrize("name", ["memory_limit", "cputime_limit", "walltime_limit"])
@pytest.mark.parametrize(
    ("value", "error"),
    [
        (0, ValueError),
        (-1, ValueError),
        (float("nan"), ValueError),
        (float("inf"), ValueError),
        ((1, "parsec"), ValueError),
        ((0, "s"), ValueError),
        (True, TypeError),
        ("1s", TypeError),
        ((1, 2), TypeError),
        ((1, "s", 3), TypeError),
        ([1, "s"], TypeError),
    ],
)
def test_a_wrong_limit_is_refused(name, value, error):
    with pytest.raises(error, match=rf"{name} must be a number of (bytes|seconds), \(number, unit\) with a unit of"):
        PynisherPlugin(**{name: value})


def test_what_is_too_small_to_be_counted_is_refused():
    with pytest.raises(ValueError, match="cputime_limit must be at least 1 second"):
        PynisherPlugin(cputime_limit=0.5)
    with pytest.raises(ValueError, match="memory_limit must be a whole number of bytes"):
        PynisherPlugin(memory_limit=1.5)


def test_what_the_system_does_not_support_is_refused(monkeypatch):
    monkeypatch.setattr(pynisher, "supports", lambda limit: limit != "memory")
    PynisherPlugin(walltime_limit=1, cputime_limit=1)
    with pytest.raises(NotImplementedError, match=r"memory_limit is not supported .* cputime_limit, walltime_limit\."):
        PynisherPlugin(memory_limit=1)


def test_it_is_found_by_name():
    from amltk.plugins import plugin_manager

    assert plugin_manager().task_plugin("pynisher") is PynisherPlugin


def test_many_bytes_through_every_backend(scheduler):
    task = scheduler.task(many_bytes, plugins=PynisherPlugin(walltime_limit=50))
    lengths = []
    task.on_result(lambda _, result: lengths.append(len(result)))
    scheduler.on_start(lambda: task(50))
    scheduler.run()
    assert lengths == [50 << 20]


@pytest.mark.parametrize("seconds", [30 * 24 * 3600, int(1e9)])
def test_limits_of_time_may_be_of_any_length(scheduler, seconds):
    task = scheduler.task(max, plugins=PynisherPlugin(walltime_limit=seconds, cputime_limit=seconds))
    results = []
    task.on_result(lambda _, result: results.append(result))
    scheduler.on_start(lambda: task(1, 2))
    scheduler.run()
    assert results == [2]


# A fresh interpreter, which runs calls of threads


def _value() -> int:
    import module_for_pynisher

    return module_for_pynisher.value


def test_a_path_of_any_size_and_its_relative_entries(tmp_path, monkeypatch):
    (tmp_path / "module_for_pynisher.py").write_text("value = 42\n")
    monkeypatch.setattr("amltk.began_in", str(tmp_path))
    path = [*sys.path, *(f"{tmp_path}/{'x' * 200}-{number}" for number in range(1000)), ""]
    monkeypatch.setattr(sys, "path", path)
    assert in_thread(limited(_value, wall=30)) == 42


def _attach(name: str) -> int:
    from multiprocessing.shared_memory import SharedMemory

    memory = SharedMemory(name)
    try:
        return memory.buf[0]
    finally:
        memory.close()


@pytest.mark.usefixtures("tracker_of_the_program")
@somewhere
def test_shared_memory_outlives_the_call(call):
    from multiprocessing.shared_memory import SharedMemory

    memory = SharedMemory(create=True, size=10)
    memory.buf[0] = 42
    try:
        assert [call(limited(_attach, wall=30), memory.name) for _ in range(2)] == [42, 42]
    finally:
        memory.close()
        memory.unlink()


def test_it_is_the_interpreter_that_multiprocessing_is_told(monkeypatch):
    monkeypatch.setattr("multiprocessing.spawn._python_exe", os.fsencode(sys.executable))
    monkeypatch.setattr(sys, "executable", "/opt/blender/blender")
    assert in_thread(limited(double, wall=30), 21) == 42
    monkeypatch.setattr("multiprocessing.spawn._python_exe", None)
    with pytest.raises(RuntimeError, match=r"multiprocessing\.set_executable\("):
        in_thread(limited(double, wall=30), 21)
