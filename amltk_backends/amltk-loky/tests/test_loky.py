"""The backend `loky`: its options, what its workers are, and what is left of it."""

from __future__ import annotations

import errno
import functools
import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import textwrap
import threading
import time
import warnings
from concurrent.futures import CancelledError
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import calls_for_loky as calls
import loky
import psutil
import pytest
from loky.backend.process import LokyProcess

from amltk import ExitState, Scheduler
from amltk.exceptions import WorkerDied
from amltk_loky import _pool
from amltk_loky.executor import LokyExecutor

Code = ExitState.Code


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"max_workers": 0}, ValueError, r"^max_workers must be an integer of at least 1 or None, got 0\."),
        ({"max_workers": "2"}, TypeError, r"^max_workers must be .* got '2' of type str\."),
        ({"timeout": 0}, ValueError, r"^timeout must be .* got 0"),
        ({"timeout": "1"}, TypeError, r"^timeout must be .* got '1'"),
        ({"initializer": "print"}, TypeError, r"^initializer must be callable, got 'print'"),
        ({"initializer": print, "initargs": "ab"}, TypeError, r"^initargs must be of type tuple, got ... of type str"),
        ({"env": [("A", "1")]}, TypeError, r"^env must be of type Mapping"),
        ({"env": {"OMP_NUM_THREADS": 1}}, TypeError, r"^env\['OMP_NUM_THREADS'\] must be of type str, got 1"),
        ({"env": {1: "1"}}, TypeError, r"^the name 1 in env must be of type str"),
        ({"reusable": 1}, TypeError, r"^reusable must be True or False, got 1"),
        ({"max_worker": 2}, TypeError, r"no option 'max_worker'\. Did you mean 'max_workers'\?"),
    ],
)
def test_a_wrong_option_is_refused_before_anything_starts(options, error, said):
    before = threading.active_count()
    with pytest.raises(error, match=said):
        Scheduler.with_loky(**options)
    assert threading.active_count() == before


def test_the_plugin_does_not_load_what_it_wraps():
    code = "import sys, amltk_loky.plugin; sys.exit('loky' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=50)


@pytest.mark.parametrize(("of_loky", "given"), [(3, 4), (5, 3)])
def test_by_default_there_are_as_many_workers_as_loky_and_the_quota_allow(
    make, monkeypatch, tmp_path, until, of_loky, given
):
    monkeypatch.setattr(loky, "cpu_count", lambda: of_loky)
    monkeypatch.setenv("PYTHON_CPU_COUNT", str(given))
    executor = make()
    for _ in range(4):
        executor.submit(calls.wait_for, tmp_path / "gate", tmp_path)
    until(lambda: len(list(tmp_path.iterdir())) == 3)
    (tmp_path / "gate").touch()


# Workers


def test_a_worker_leads_a_session_so_that_ctrl_c_is_ours(make):
    pid, session, group = make(1).submit(calls.sessions).result()
    assert pid == session == group


def test_workers_are_started_only_for_work(make):
    executor = make(2)
    pids = {executor.submit(os.getpid).result() for _ in range(3)}
    assert len(pids) == 1


def test_environment_of_workers(make):
    executor = make(1, env={"AMLTK_TEST": "set"})
    assert executor.submit(calls.environment, "AMLTK_TEST").result() == "set"
    assert "AMLTK_TEST" not in os.environ


def test_threads_of_blas_are_those_of_the_environment(make):
    """As the documentation says: as many as processors, unless they are limited."""
    limited = make(1, env={"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"})
    assert set(limited.submit(calls.blas_threads).result()) == {1}
    assert set(make(1, env={"OPENBLAS_NUM_THREADS": "2"}).submit(calls.blas_threads).result()) == {
        min(2, os.cpu_count() or 1)
    }


def test_the_initializer_runs_once_in_each_worker(make, tmp_path):
    executor = make(1, initializer=calls.note, initargs=(tmp_path,))
    pids = {str(executor.submit(os.getpid).result()) for _ in range(3)}
    assert {path.name for path in tmp_path.iterdir()} == {f"{pid}-0" for pid in pids}


def test_an_initializer_that_raises_breaks_the_executor(make):
    def fail():
        msg = "no place"
        raise OSError(msg)

    executor = make(1, initializer=fail)
    futures = [executor.submit(abs, -1) for _ in range(3)]
    for future in futures:
        with pytest.raises(BrokenProcessPool, match="its initializer raised OSError: no place") as info:
            future.result()
        assert isinstance(info.value.__cause__, OSError)
    with pytest.raises(BrokenProcessPool, match="no place"):
        executor.submit(abs, -1)


def test_an_initializer_that_cannot_be_pickled_is_refused_at_once(make):
    with pytest.raises((TypeError, pickle.PicklingError)):
        make(1, initializer=print, initargs=(threading.Lock(),))


@pytest.mark.parametrize("call", [os.getpid, calls.leave_a_child])
def test_an_idle_worker_ends_after_the_timeout_and_another_one_comes(call, make, until):
    executor = make(1, timeout=0.2)
    first = executor.submit(call).result()
    until(lambda: not psutil.pid_exists(first))
    assert executor.submit(os.getpid).result(30) != first


@pytest.mark.parametrize("opened", ["own", "shared"])
@pytest.mark.parametrize("text", ["A worker stopped while some jobs", "A worker was restarted while some jobs"])
def test_a_worker_is_replaced_where_warnings_are_errors(opened, text, monkeypatch):
    """They would end loky's thread, and calls would be waited for without end."""
    monkeypatch.setattr(loky, "get_reusable_executor", lambda _: None)
    monkeypatch.setattr(loky, "ProcessPoolExecutor", lambda *_, **__: None)
    loky_warns = functools.partial(
        warnings.warn_explicit, category=UserWarning, filename="loky", lineno=1, module="loky.process_executor"
    )
    with pytest.raises(UserWarning, match=text):
        loky_warns(text)
    pool = _pool.own(None) if opened == "own" else _pool.shared(1)
    with warnings.catch_warnings(record=True) as shown:
        loky_warns(text)
    assert [str(each.message) for each in shown] == [text]
    with pytest.raises(UserWarning, match="something else"):
        loky_warns("something else")
    for end in pool._ends:
        end.close()


def test_what_calls_print_is_there_when_they_have_ended(tmp_path):
    """Even if the worker is killed after that."""
    done = script(
        """
        from amltk import Scheduler

        scheduler = Scheduler.with_loky(1)
        task = scheduler.task(lambda: print("from the call"))
        scheduler.on_start(task)
        task.on_done(lambda *_: scheduler.stop())
        scheduler.run(wait=False, end_on_empty=False)
        """,
        tmp_path,
    )
    assert done == "from the call\n"


@pytest.mark.parametrize("method", [None, "spawn"])
def test_calls_start_processes_as_the_main_process_would(method, make, monkeypatch):
    monkeypatch.setattr(multiprocessing.context._default_context, "_actual_context", None)
    multiprocessing.set_start_method(method, force=True)
    found, exit_codes = make(1).submit(calls.start_processes).result()
    assert found == multiprocessing.get_start_method()
    assert exit_codes == [0, 0, 0]


# The end


def test_what_is_killed_is_cancelled_or_has_died(make, tmp_path, until):
    executor = make(1)
    runs, waits = (executor.submit(calls.wait_for, tmp_path / "gate", tmp_path) for _ in range(2))
    until(lambda: list(tmp_path.iterdir()))
    executor.kill_workers()
    with pytest.raises(Exception, match=r"wait_for\(.* was ended by kill_workers\(\)"):
        runs.result(0)
    with pytest.raises(CancelledError):
        waits.result(0)
    with pytest.raises(RuntimeError, match="after shutdown"):
        executor.submit(abs, -1)


@pytest.mark.parametrize("call", [calls.leave_a_child, calls.leave_a_thread])
def test_nobody_waits_for_what_keeps_a_worker_from_ending(call, make, lives):
    executor = make(1)
    worker = executor.submit(call).result()
    began = time.monotonic()
    executor.shutdown()
    assert time.monotonic() - began < calls.PATIENCE / 2
    assert not lives(worker)


@pytest.mark.parametrize("end", ["stopped", "dies"])
def test_who_cleans_up_after_a_call_does_so_when_that_is_killed(end, make, tmp_path, until):
    """As the trackers do that loky and joblib start where they are used."""
    executor = make(1)
    call = executor.submit(calls.use_a_tracker, tmp_path / "gate", tmp_path)
    until(lambda: len(list(tmp_path.iterdir())) == 2)
    (noted,) = tmp_path.glob("*-0")
    if end == "stopped":
        executor.kill_workers()
    else:
        os.kill(int(noted.name.removesuffix("-0")), signal.SIGKILL)
    assert isinstance(call.exception(30), WorkerDied)
    executor.shutdown()
    assert not (tmp_path / "large").exists()


def test_what_calls_left_running_ends_with_the_executor(make, until, lives):
    executor = make(1)
    pid = executor.submit(calls.leave_a_process, None).result()
    executor.shutdown()
    until(lambda: not lives(pid))


def test_a_call_for_which_there_is_no_process_fails_and_does_not_run_later(make, monkeypatch, tmp_path):
    def start(self):
        msg = "no more processes"
        raise OSError(msg)

    executor = make(1)
    with monkeypatch.context() as patch:
        patch.setattr(LokyProcess, "start", start)
        with pytest.raises(OSError, match="no more processes"):
            executor.submit(calls.note, tmp_path).result(30)
    assert executor.submit(abs, -1).result(30) == 1
    assert not list(tmp_path.iterdir())


@pytest.fixture
def one_process(monkeypatch):
    """Have the system start one process, and then no other; returns a function that has it start them again."""
    start, started = LokyProcess.start, []

    def start_one(self):
        if started:
            raise BlockingIOError(errno.EAGAIN, "no more")
        start(self)
        started.append(True)

    monkeypatch.setattr(LokyProcess, "start", start_one)
    return started.clear


def test_calls_go_on_with_the_workers_that_there_are(make, one_process, caplog):
    executor = make(3)
    futures = [executor.submit(os.getpid) for _ in range(20)]
    assert len({future.result(30) for future in futures}) == 1
    (told,) = caplog.messages
    assert told.startswith("with_loky goes on with 1 of 3 workers: [Errno 11] Resource temporarily unavailable: ")


def test_calls_that_wait_for_them_are_killed_too(make, one_process, tmp_path, until):
    executor = make(3)
    futures = [executor.submit(calls.wait_for, tmp_path / "gate", tmp_path) for _ in range(4)]
    until(lambda: list(tmp_path.iterdir()))
    executor.kill_workers()
    for future in futures:
        assert future.cancelled() or isinstance(future.exception(0), WorkerDied)


def test_when_such_a_worker_dies_another_one_is_started(make, one_process, tmp_path, until):
    executor = make(3)
    futures = [executor.submit(calls.wait_for, tmp_path / "gate", tmp_path) for _ in range(3)]
    until(lambda: list(tmp_path.iterdir()))
    one_process()
    (pid,) = (int(path.name.partition("-")[0]) for path in tmp_path.iterdir())
    os.kill(pid, signal.SIGKILL)
    assert isinstance(futures[0].exception(30), WorkerDied)
    (tmp_path / "gate").touch()
    assert [future.exception(30) for future in futures[1:]] == [None, None]


def test_a_call_that_is_being_started_is_killed_too(make, tmp_path):
    """Whatever loky is just doing with it."""
    for _ in range(5):
        executor = make(2)
        futures = [executor.submit(calls.wait_for, tmp_path / "gate", tmp_path) for _ in range(4)]
        executor.kill_workers()
        assert all(future.done() for future in futures)


def test_without_shutdown_the_program_ends_all_the_same(tmp_path):
    printed = script(
        """
        from amltk_loky.executor import LokyExecutor

        executor = LokyExecutor(2)
        print(executor.submit(abs, -1).result())
        """,
        tmp_path,
    )
    assert printed == "1\n"


@pytest.mark.parametrize("call", ["wait_for", "compute_in_c"])
def test_workers_go_with_a_program_that_is_killed(call, tmp_path, until, lives):
    """Each of them, idle or in compiled code that keeps the interpreter's lock; and nothing lies around."""
    folder = tmp_path / "folder"
    folder.mkdir()
    args = "folder" if call == "compute_in_c" else "folder / 'gate', folder"
    path = write(
        f"""
        import pathlib, sys
        sys.path.insert(0, {str(Path(__file__).parent)!r})
        import calls_for_loky as calls
        from amltk_loky.executor import LokyExecutor

        folder = pathlib.Path({str(folder)!r})
        executor = LokyExecutor(2)
        executor.submit(calls.{call}, {args})
        executor.submit(calls.note, folder).result()
        calls.time.sleep(60)
        """,
        tmp_path,
    )
    with subprocess.Popen([sys.executable, path]) as program:
        try:
            until(lambda: len(list(folder.iterdir())) == 2)
            family = psutil.Process(program.pid).children(recursive=True)
            assert list(Path("/dev/shm").glob(f"*loky-{program.pid}-*"))
        finally:
            program.kill()
    assert len(family) >= 4  # two workers, two resource trackers
    until(lambda: not any(lives(each.pid) for each in family))
    until(lambda: not list(Path("/dev/shm").glob(f"*loky-{program.pid}-*")))


def test_ctrl_c_in_a_terminal_is_a_matter_of_the_program_alone(tmp_path, until, lives):
    """A terminal sends it to the whole group; workers are in another one, and nobody prints a traceback."""
    folder = tmp_path / "folder"
    folder.mkdir()
    path = write(
        f"""
        import pathlib, sys
        sys.path.insert(0, {str(Path(__file__).parent)!r})
        import calls_for_loky as calls
        from amltk import Scheduler

        folder = pathlib.Path({str(folder)!r})
        scheduler = Scheduler.with_loky(1)
        task = scheduler.task(calls.wait_for)
        scheduler.on_start(lambda: task(folder / "gate", folder))
        try:
            scheduler.run()
        except KeyboardInterrupt:
            print("interrupted", task.event_counts["on_cancelled"])
        """,
        tmp_path,
    )
    command = [sys.executable, str(path)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, start_new_session=True) as program:
        until(lambda: list(folder.iterdir()))
        family = psutil.Process(program.pid).children(recursive=True)
        os.killpg(program.pid, signal.SIGINT)
        printed, complaints = program.communicate(timeout=50)
    assert (printed, complaints, program.returncode) == ("interrupted 1\n", "", 0)
    until(lambda: not any(lives(each.pid) for each in family))


def write(code: str, folder: Path) -> Path:
    path = folder / "script.py"
    path.write_text(textwrap.dedent(code), encoding="utf-8")
    return path


def script(code: str, folder: Path) -> str:
    """Run a program, and return what it printed."""
    done = subprocess.run(
        [sys.executable, write(code, folder)], capture_output=True, text=True, timeout=50, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


@pytest.mark.parametrize("seconds", [30 * 24 * 3600, 1e9])
def test_an_idle_worker_may_stay_for_any_time(make, seconds):
    executor = make(1, timeout=seconds)
    first = executor.submit(os.getpid).result()
    time.sleep(0.1)
    assert executor.submit(os.getpid).result() == first


def test_numerical_libraries_share_the_processors(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setenv("MKL_NUM_THREADS", "7")
    monkeypatch.setattr(loky, "cpu_count", lambda: 8)
    monkeypatch.setenv("PYTHON_CPU_COUNT", "8")

    def look():
        return [os.environ.get(f"{name}_NUM_THREADS") for name in ("OMP", "MKL")]

    with LokyExecutor(2) as executor:
        assert executor.submit(look).result() == ["4", "7"]
    with LokyExecutor(2, env={"OMP_NUM_THREADS": "3"}) as executor:
        assert executor.submit(look).result() == ["3", "7"]


def test_without_an_interpreter_nothing_is_started(monkeypatch):
    monkeypatch.setattr("multiprocessing.spawn._python_exe", None)
    monkeypatch.setattr(sys, "executable", "")
    with pytest.raises(RuntimeError, match=r"multiprocessing\.set_executable\("):
        LokyExecutor(1)
    monkeypatch.setattr("multiprocessing.spawn._python_exe", "/usr/bin/python3")
    with pytest.raises(RuntimeError, match=r"set sys\.executable = '/usr/bin/python3'"):
        LokyExecutor(1)


def test_shared_memory_and_arguments_of_the_program(monkeypatch):
    from multiprocessing.shared_memory import SharedMemory

    def look(name):
        memory = SharedMemory(name)
        value = memory.buf[0]
        memory.close()
        return value, sys.argv

    monkeypatch.setattr(sys, "argv", ["program.py", "--seed", "3"])
    memory = SharedMemory(create=True, size=10)
    memory.buf[0] = 42
    for _ in range(2):
        with LokyExecutor(1) as executor:
            assert executor.submit(look, memory.name).result() == (42, ["program.py", "--seed", "3"])
    memory.close()
    memory.unlink()
