"""The backend `dask` with a cluster of its own: options, workers, and what is left."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
import urllib.request
from concurrent.futures import BrokenExecutor
from pathlib import Path
from types import SimpleNamespace

import calls_for_dask as calls
import psutil
import pytest

from amltk import ExitState, Scheduler
from amltk.exceptions import WorkerDied
from amltk_dask import _local
from amltk_dask._local import Home, open_local
from amltk_dask.executor import DaskExecutor

Code = ExitState.Code


def make(**options) -> DaskExecutor:
    return open_local(**{"n_workers": 1, "allowed_failures": 0, "heartbeat_timeout": None, **options})


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"n_workers": 0}, ValueError, r"^n_workers must be an integer of at least 1 or None, got 0\."),
        ({"n_workers": "2"}, TypeError, r"^n_workers must be .* got '2' of type str\."),
        ({"allowed_failures": -1}, ValueError, r"^allowed_failures must be .* got -1"),
        ({"heartbeat_timeout": 0}, ValueError, r"^heartbeat_timeout must be .* got 0"),
        ({"address": 8786}, TypeError, r"^address must be of type str, got 8786"),
        ({"client": "tcp://here:8786"}, TypeError, r"^client must be of type Client"),
        ({"address": "tcp://here:8786", "n_workers": 2}, TypeError, r"^n_workers= is for a new cluster"),
        ({"address": "tcp://here:8786", "memory_limit": "1GB"}, TypeError, r"^memory_limit= is for a new cluster"),
        ({"processes": False}, TypeError, r"sets processes= itself\. .* client=cluster\.get_client\(\)"),
        ({"n_worker": 2}, TypeError, r"no option 'n_worker', .* Did you mean 'n_workers'\?"),
        ({"thread_per_worker": 2}, TypeError, r"no option .* Did you mean 'threads_per_worker'\?"),
    ],
)
def test_a_wrong_option_is_refused_before_anything_starts(options, error, said):
    before = threading.active_count()
    with pytest.raises(error, match=said):
        Scheduler.with_dask(**options)
    assert threading.active_count() == before


def test_the_plugin_does_not_load_what_it_wraps():
    code = (
        "import sys, amltk_dask.plugin; from amltk import Scheduler; Scheduler.with_dask(2); "
        "sys.exit('distributed' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=50)


# Workers


def test_a_call_has_the_main_thread_and_the_environment(clean):
    with make(env={"AMLTK_TEST": "set"}) as executor:
        pid, main = executor.submit(calls.where).result(30)
        assert (pid != os.getpid(), main) == (True, True)
        assert executor.submit(calls.environment, "AMLTK_TEST").result(30) == "set"
        assert executor.submit(calls.have_a_child).result(30) == 5
        assert [worker.pid for worker in executor.workers.values()] == [pid]
    assert "AMLTK_TEST" not in os.environ


def test_several_threads_of_a_worker_die_together(clean, tmp_path, until):
    with make(threads_per_worker=2) as executor:
        runs = executor.submit(calls.wait_for, tmp_path / "gate", tmp_path)
        until(lambda: any(tmp_path.glob("*-*")))
        with pytest.raises(WorkerDied, match="exited with code 3"):
            executor.submit(calls.die, tmp_path).result(30)
        with pytest.raises(WorkerDied, match="wait_for"):
            runs.result(30)
        assert executor.submit(abs, -1).result(30) == 1


def test_too_much_memory(clean):
    with make(memory_limit="300MB") as executor:
        with pytest.raises(WorkerDied, match=r"eat\(7\).*because memory ran out.*95% of memory_limit, 286 MB") as info:
            executor.submit(calls.eat, 7).result(50)
        assert info.value.out_of_memory
        assert info.value.signal == signal.SIGKILL


def test_large_arguments_warn_of_nothing(clean):
    with make() as executor:
        assert executor.submit(len, bytes(20 << 20)).result(30) == 20 << 20


def test_a_guard_that_is_warned_of_its_fork_goes_on(forks_warn, lives):
    with make() as executor:
        assert lives(executor.submit(os.getppid).result(30))


def test_a_result_that_fails_to_unpickle_is_not_lost(clean):
    with make() as executor:
        with pytest.raises(LookupError, match="not in this process") as info:
            executor.submit(calls.give_what_fails_to_unpickle).result(30)
        assert "give_what_fails_to_unpickle" in info.value.__notes__[0]
        assert executor.submit(abs, -1).result(30) == 1


def test_allowed_failures_run_a_call_again(clean, tmp_path):
    folder = tmp_path / "folder"
    folder.mkdir()
    with make(allowed_failures=1) as executor:
        assert executor.submit(calls.die_at_first, tmp_path / "folder").result(50) != os.getpid()
        assert len(list(folder.iterdir())) == 2
        with pytest.raises(WorkerDied, match=r"die\(.*for the 2\. time"):
            executor.submit(calls.die, folder).result(50)
        assert len(list(folder.iterdir())) == 4


def test_workers_that_fail_before_anybody_listens_are_told_of_then(tmp_path):
    home, told = Home(str(tmp_path), 0), []
    error = BrokenExecutor("they do not start")
    home.fail(error)
    home.on_failure(told.append)
    home.clear()
    assert told == [error]


def test_workers_that_do_not_start(clean, capfd):
    with make(env={"PYTHONHOME": "/nowhere"}) as executor:
        with pytest.raises(BrokenExecutor, match="dask's workers do not start: 3 of them ended at once"):
            executor.submit(abs, -1).result(50)
        with pytest.raises(BrokenExecutor, match="do not start"):
            executor.submit(abs, -1)
    assert "encodings" in capfd.readouterr().err


def starting() -> list[psutil.Process]:
    """Return the workers, each of which its guard has started."""
    found = []
    for guard in psutil.Process().children():
        with contextlib.suppress(psutil.Error):  # it has just ended
            found += guard.children()
    return found


def test_workers_that_are_killed_while_they_start_are_started_again(clean, until, monkeypatch):
    monkeypatch.setattr(_local, "_LONGEST_PAUSE", 0.01)
    with make(n_workers=2) as executor:
        futures = [executor.submit(abs, -n) for n in range(20)]
        killed: set[int] = set()
        while len(killed) < 7:
            until(lambda: {each.pid for each in starting()} - killed)
            for each in starting():
                if each.pid not in killed:
                    killed.add(each.pid)
                    with contextlib.suppress(psutil.Error):
                        each.kill()
        assert [future.result(50) for future in futures] == list(range(20))


def test_one_worker_that_does_not_start_ends_no_calls_of_others(clean, caplog, until, monkeypatch):
    start, broken = _local.Process._start, []

    def start_one(self: _local.Process) -> None:
        if not broken or broken[0] is self:
            broken[:] = [self]
            self._env = {**self._env, "PYTHONHOME": "/nowhere"}
        start(self)

    monkeypatch.setattr(_local.Process, "_start", start_one)
    with make(n_workers=2) as executor:
        until(lambda: "The other workers go on" in caplog.text, 30)
        assert executor.submit(abs, -1).result(50) == 1


def test_a_worker_that_starts_while_all_are_killed_is_killed_too(clean, monkeypatch):
    executor = make()
    killer = threading.Thread(target=executor.kill_workers)
    told, followed = threading.Event(), threading.Event()
    kill, join, follow = _local.Process.kill, _local.Process.join, _local.Process._follow

    def kill_and_start(*args, **options):
        killer.start()
        told.wait(0.5)  # no longer: the one that starts may make the killer wait
        return subprocess.Popen(*args, **options)

    def kill_and_tell(self):
        kill(self)
        told.set()

    def join_late(self):
        followed.wait(10)
        join(self)

    def follow_and_tell(*args):
        followed.set()
        follow(*args)

    future = executor.submit(os._exit, 3)
    with pytest.raises(WorkerDied):
        future.result(50)
    monkeypatch.setattr(_local, "subprocess", SimpleNamespace(Popen=kill_and_start, DEVNULL=subprocess.DEVNULL))
    monkeypatch.setattr(_local.Process, "kill", kill_and_tell)
    monkeypatch.setattr(_local.Process, "join", join_late)
    monkeypatch.setattr(_local.Process, "_follow", follow_and_tell)
    executor.submit(os._exit, 3)
    assert followed.wait(20)
    killer.join(20)
    assert not killer.is_alive()
    executor.shutdown()


def test_nothing_stays_open_where_the_executor_fails_to_begin(clean, monkeypatch, tmp_path):
    async def fail(_: DaskExecutor) -> None:
        msg = "the scheduler does not answer"
        raise OSError(msg)

    monkeypatch.setattr(DaskExecutor, "_begin", fail)
    folder = tmp_path / "folder"
    folder.mkdir()
    with pytest.raises(OSError, match="does not answer"):
        make(local_directory=str(folder))
    assert list(folder.iterdir()) == []


# The end


def test_what_is_killed_is_cancelled_or_has_died(clean, tmp_path, until):
    executor = make()
    runs, waits = (executor.submit(calls.wait_for, tmp_path / "gate", tmp_path) for _ in range(2))
    until(lambda: any(tmp_path.glob("*-*")))
    assert not runs.cancel()
    executor.kill_workers()
    with pytest.raises(WorkerDied, match=r"wait_for\(.* was ended by kill_workers\(\)"):
        runs.result(0)
    assert waits.cancelled()
    with pytest.raises(RuntimeError, match="after shutdown"):
        executor.submit(abs, -1)
    executor.kill_workers()


def test_killed_while_it_starts(clean):
    for _ in range(3):
        executor = make()
        future = executor.submit(abs, -1)
        executor.kill_workers()
        assert future.done()


def test_pending_calls_can_be_failed(clean, tmp_path, until):
    with make() as executor:
        futures = [executor.submit(calls.wait_for, tmp_path / "gate", tmp_path) for _ in range(3)]
        assert executor.calls_left == 3
        until(lambda: any(tmp_path.glob("*-*")))
        executor.fail_pending(OSError("no such queue"))
        for future in futures:
            with pytest.raises(BrokenExecutor, match="OSError: no such queue"):
                future.result(30)
        assert executor.calls_left == 0
        with pytest.raises(OSError, match="no such queue"):
            executor.check()
        (tmp_path / "gate").touch()


def test_nothing_is_said_on_the_terminal(tmp_path):
    """Nor is the script imported by workers: it has no guard."""
    done = script(
        """
        import os, time
        from amltk import Scheduler

        scheduler = Scheduler.with_dask(2)
        task = scheduler.task(lambda code: os._exit(code) if code else print("from the call"))
        scheduler.on_start(lambda: [task(code) for code in (0, 3)] and None)
        print(scheduler.run(on_exception="ignore").code.name)
        endless = scheduler.task(time.sleep)
        scheduler.on_start(lambda: endless(60))
        task.on_done(lambda *_: scheduler.stop())
        print(scheduler.run(on_exception="ignore", wait=False).code.name)
        """,
        tmp_path,
    )
    assert sorted(done.split("\n")) == ["", "EXHAUSTED", "STOPPED", "from the call", "from the call"]


def test_without_shutdown_the_program_ends_all_the_same(tmp_path):
    printed = script(
        """
        from amltk_dask._local import open_local

        executor = open_local(n_workers=1, allowed_failures=0, heartbeat_timeout=None)
        print(executor.submit(abs, -1).result())
        """,
        tmp_path,
    )
    assert printed == "1\n"


def test_workers_go_with_a_program_that_is_killed(tmp_path, until):
    """Even one in compiled code that keeps the interpreter's lock; and nothing lies around."""
    noted, temporary = tmp_path / "noted", tmp_path / "temporary"
    noted.mkdir()
    temporary.mkdir()
    path = write(
        f"""
        import pathlib, sys, time
        sys.path.insert(0, {str(Path(__file__).parent)!r})
        import calls_for_dask as calls
        from amltk_dask._local import open_local

        executor = open_local(n_workers=2, allowed_failures=0, heartbeat_timeout=None)
        executor.submit(calls.compute_in_c, pathlib.Path({str(noted)!r}))
        executor.submit(calls.wait_for, pathlib.Path({str(noted)!r}) / "gate", pathlib.Path({str(noted)!r}))
        time.sleep(60)
        """,
        tmp_path,
    )
    with subprocess.Popen([sys.executable, path], env={**os.environ, "TMPDIR": str(temporary)}) as program:
        try:
            until(lambda: len(list(noted.iterdir())) == 2)
            family = psutil.Process(program.pid).children(recursive=True)
        finally:
            program.kill()
    assert len(family) == 4  # two workers, and two that guard them
    _, alive = psutil.wait_procs(family, 10)
    assert not [each for each in alive if each.status() != psutil.STATUS_ZOMBIE]
    until(lambda: not list(temporary.iterdir()))


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


@pytest.mark.parametrize(("threads", "workers"), [(1, 3), (2, 1), (None, 3)])
def test_by_default_there_are_as_many_workers_as_the_program_may_use_processors(
    nothing_is_left, monkeypatch, threads, workers
):
    made = []
    monkeypatch.setenv("PYTHON_CPU_COUNT", "3")

    def refuse(**options):
        made.append(options["n_workers"])
        raise InterruptedError

    monkeypatch.setattr(_local, "LocalCluster", refuse)
    with pytest.raises(InterruptedError):
        _local.open_local(allowed_failures=0, heartbeat_timeout=None, threads_per_worker=threads)
    assert made == [workers]


def _attach(name: str) -> int:
    from multiprocessing.shared_memory import SharedMemory

    memory = SharedMemory(name)
    try:
        return memory.buf[0]
    finally:
        memory.close()


def _create() -> str:
    from multiprocessing.shared_memory import SharedMemory

    memory = SharedMemory(create=True, size=10)
    memory.buf[0] = 43
    memory.close()
    return memory.name


@pytest.mark.usefixtures("tracker_of_the_program")
def test_shared_memory_outlives_the_workers():
    from multiprocessing.shared_memory import SharedMemory

    memory = SharedMemory(create=True, size=10)
    memory.buf[0] = 42
    for _ in range(2):
        with make() as executor:
            assert executor.submit(_attach, memory.name).result() == 42
            made = executor.submit(_create).result()
    memory.close()
    memory.unlink()
    memory = SharedMemory(made)
    assert memory.buf[0] == 43
    memory.close()
    memory.unlink()


def test_a_worker_knows_the_program(clean, monkeypatch):
    def look():
        import multiprocessing

        parent = multiprocessing.parent_process()
        return sys.argv, parent.pid, parent.is_alive(), multiprocessing.current_process().name, os.getpid()

    monkeypatch.setattr(sys, "argv", ["program.py", "--seed", "3"])
    with make() as executor:
        *found, name, pid = executor.submit(look).result()
    assert found == [["program.py", "--seed", "3"], os.getpid(), True]
    assert name == f"worker-{pid}"


def test_a_path_of_any_size_and_its_relative_entries(tmp_path, monkeypatch):
    (tmp_path / "module_for_dask.py").write_text("def value():\n    return 42\n")
    monkeypatch.setattr("amltk.began_in", str(tmp_path))
    path = [*sys.path, *(f"{tmp_path}/{'x' * 200}-{number}" for number in range(1000)), ""]
    monkeypatch.setattr(sys, "path", path)

    def value():
        import module_for_dask

        return module_for_dask.value()

    with make() as executor:
        assert executor.submit(value).result() == 42


def test_without_an_interpreter_nothing_is_started(clean, monkeypatch):
    monkeypatch.setattr("multiprocessing.spawn._python_exe", None)
    monkeypatch.setattr(sys, "executable", "")
    with pytest.raises(RuntimeError, match=r"multiprocessing\.set_executable\("):
        make()


def port_of_pages() -> int:
    from distributed import Worker

    (worker,) = Worker._instances
    return worker.http_server.port


def test_other_users_of_the_machine_see_no_page():
    """dask's server of pages stays there without a dashboard; it would show logs, stacks, and names of calls."""
    with make() as executor:
        ports = [executor.submit(port_of_pages).result(30), executor._client.cluster.scheduler.http_server.port]
        for port in ports:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/sitemap.json", timeout=5) as page:
                assert json.load(page)["paths"] == ["/sitemap.json"]


# Where and when calls ran


def test_a_call_that_runs_and_one_whose_worker_died_tell_where(clean, tmp_path, until):
    begun = tmp_path / "begun"
    begun.mkdir()
    with make() as executor:
        running = executor.submit(calls.wait_for, tmp_path / "gate", begun)
        waiting = executor.submit(calls.where)
        until(lambda: list(begun.iterdir()))
        [(address, worker)] = executor.workers.items()
        execution = running.execution
        assert (execution.pid, execution.worker, execution.duration) == (worker.pid, address, None)
        assert waiting.execution is None
        os.kill(worker.pid, signal.SIGKILL)
        assert isinstance(running.exception(30), WorkerDied)
        assert (running.execution.pid, running.execution.started) == (worker.pid, execution.started)
        assert running.execution.duration > 0
        pid, _ = waiting.result(30)
        assert waiting.execution.pid == pid != worker.pid
        assert waiting.execution.worker in {*executor.workers}


def test_a_call_that_is_run_again_tells_of_the_last_time(clean, tmp_path, until):
    begun = tmp_path / "begun"
    begun.mkdir()
    with make(allowed_failures=1) as executor:
        future = executor.submit(calls.wait_for, tmp_path / "gate", begun)
        until(lambda: list(begun.iterdir()))
        first = future.execution.pid
        os.kill(first, signal.SIGKILL)
        until(lambda: len(list(begun.iterdir())) == 2)
        (tmp_path / "gate").touch()
        future.result(30)
        assert future.execution.pid not in {None, first}
