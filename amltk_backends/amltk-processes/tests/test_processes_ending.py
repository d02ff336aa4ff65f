"""How it ends: everything is gone, whoever ended it, and nobody waits for ever."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import Future, wait
from pathlib import Path

import psutil
import pytest
from calls_for_processes import add, family, leave_an_orphan, wait_for
from processes_of_pools import servers, workers

from amltk.exceptions import WorkerDied
from amltk.forks import fork
from amltk.remote import process_tree
from amltk_processes import ProcessPoolExecutor, _fork_server


def alive(pids: set[int]) -> set[int]:
    def is_alive(pid: int) -> bool:
        try:
            return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return False

    return {pid for pid in pids if is_alive(pid)}


def descriptors() -> set[str]:
    return {path.name for path in Path("/proc/self/fd").iterdir()}


def noted(folder: Path) -> set[int]:
    return {int(path.name) for path in folder.iterdir()}


def test_kill_ends_children_and_grandchildren_at_once(tmp_path: Path, until) -> None:
    executor = ProcessPoolExecutor(2)
    running = [executor.submit(family, tmp_path) for _ in range(2)]
    pending = [executor.submit(add, i) for i in range(10)]
    until(lambda: len(noted(tmp_path)) == 8)
    assert len(alive(noted(tmp_path))) == 8
    began = time.monotonic()
    executor.kill_workers()
    assert time.monotonic() - began < _fork_server.GRACE  # nobody had to be forced
    assert alive(noted(tmp_path)) == set()
    assert all(future.cancelled() for future in pending)
    for future in running:
        error = future.exception(timeout=0)
        assert isinstance(error, WorkerDied)
        assert re.search(
            r"family\(.*\) was ended by kill_calls\(\) or kill_workers\(\), in process \d+ on ", str(error)
        )
    with pytest.raises(RuntimeError, match="shut down"):
        executor.submit(add, 1)
    executor.kill_workers()
    executor.shutdown()


def test_who_ignores_sigterm_is_killed_after_the_grace_period(tmp_path: Path, until, monkeypatch) -> None:
    monkeypatch.setattr(_fork_server, "GRACE", 0.3)
    executor = ProcessPoolExecutor(1)
    future = executor.submit(family, tmp_path, deaf=True)
    until(lambda: len(noted(tmp_path)) == 4)
    began = time.monotonic()
    executor.kill_workers()
    assert time.monotonic() - began >= 0.3
    assert alive(noted(tmp_path)) == set()
    assert isinstance(future.exception(timeout=0), WorkerDied)


def test_a_call_has_the_grace_period_to_clean_up(tmp_path: Path, until) -> None:
    def tidy(folder: Path) -> None:
        signal.signal(signal.SIGTERM, lambda *_: sys.exit())
        (folder / "began").touch()
        try:
            time.sleep(600)
        finally:
            (folder / "tidied").touch()

    executor = ProcessPoolExecutor(1)
    executor.submit(tidy, tmp_path)
    until((tmp_path / "began").exists)
    executor.kill_workers()
    assert (tmp_path / "tidied").exists()


def test_a_stopped_worker_and_a_stopped_server_are_ended_too(tmp_path: Path, until, monkeypatch) -> None:
    monkeypatch.setattr(_fork_server, "GRACE", 0.2)
    monkeypatch.setattr(_fork_server, "PATIENCE", 0.2)
    executor = ProcessPoolExecutor(1)
    future = executor.submit(wait_for, tmp_path / "gate", "x")
    until((tmp_path / "began-x").exists)
    (server,) = servers()
    (worker,) = server.children()
    worker.suspend()
    server.suspend()
    executor.kill_workers()
    assert alive({worker.pid, server.pid}) == set()
    assert isinstance(future.exception(timeout=0), WorkerDied)


def test_force_is_used_however_long_it_takes_to_look_at_all_processes(monkeypatch) -> None:
    def busy(*args: object) -> set[psutil.Process]:
        time.sleep(1.2)
        return look(*args)

    look = process_tree._family
    monkeypatch.setattr(process_tree, "_family", busy)
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        process_tree.end_process_trees([process.pid], 0)
        assert process.wait(10) == -signal.SIGKILL


def test_kill_from_a_callback_and_from_several_threads(tmp_path: Path, until) -> None:
    executor = ProcessPoolExecutor(2)
    running = executor.submit(wait_for, tmp_path / "gate", "x")
    until((tmp_path / "began-x").exists)
    executor.submit(add, 1).add_done_callback(lambda _: executor.kill_workers())
    threads = [threading.Thread(target=executor.kill_workers) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert isinstance(running.exception(timeout=0), WorkerDied)


def test_kill_right_after_submit_leaves_no_future_waiting() -> None:
    for _ in range(5):
        executor = ProcessPoolExecutor(2)
        futures = [executor.submit(time.sleep, 600) for _ in range(20)]
        executor.kill_workers()
        assert wait(futures, timeout=0).not_done == set()


def test_kill_before_anything_was_submitted() -> None:
    executor = ProcessPoolExecutor(2)
    executor.kill_workers()
    with pytest.raises(RuntimeError):
        executor.submit(add, 1)


@pytest.mark.parametrize(("deaf", "grace"), [(True, 0.2), (False, 600)])
def test_what_a_dead_workers_call_left_behind_is_asked_and_then_forced(
    deaf: bool, grace: float, tmp_path: Path, until, monkeypatch
) -> None:
    monkeypatch.setattr(_fork_server, "GRACE", grace)

    def leave_and_die(folder: Path) -> None:
        leave_an_orphan(folder, deaf)
        os._exit(1)

    with ProcessPoolExecutor(1) as executor:
        assert isinstance(executor.submit(leave_and_die, tmp_path).exception(), WorkerDied)
        until(lambda: not alive(noted(tmp_path)))
        assert executor.submit(add, 1).result() == 2


def test_what_a_call_left_behind_is_gone_after_shutdown(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(_fork_server, "GRACE", 0.2)
    with ProcessPoolExecutor(1) as executor:
        executor.submit(leave_an_orphan, tmp_path).result()
        assert alive(noted(tmp_path))
    assert not alive(noted(tmp_path))


def test_a_worker_that_does_not_end_by_itself_holds_up_shutdown_only_for_a_while(monkeypatch) -> None:
    monkeypatch.setattr(_fork_server, "GRACE", 0.2)

    def leave_a_thread() -> None:
        threading.Thread(target=time.sleep, args=(600,)).start()

    with ProcessPoolExecutor(1) as executor:
        executor.submit(leave_a_thread).result()
        began = time.monotonic()
    assert time.monotonic() - began < 20


def test_exit_functions_of_a_worker_run(tmp_path: Path) -> None:
    def register(path: Path) -> None:
        import atexit

        atexit.register(path.touch)

    with ProcessPoolExecutor(1) as executor:
        executor.submit(register, tmp_path / "bye").result()
    assert (tmp_path / "bye").exists()


def test_a_fork_of_the_main_process_holds_nothing_of_the_pool(tmp_path: Path, until) -> None:
    with ProcessPoolExecutor(1) as executor:
        running = executor.submit(wait_for, tmp_path / "gate", "x")
        until((tmp_path / "began-x").exists)
        read, write = os.pipe()
        child = fork()
        if child == 0:
            try:
                executor.shutdown()
                executor.kill_workers()
                try:
                    executor.submit(add, 1)
                except RuntimeError:
                    links = list(Path("/proc/self/fd").iterdir())
                    kept = [str(path.readlink()) for path in links if path.is_symlink()]
                    os.write(write, b"%d" % sum("socket" in name or "eventpoll" in name for name in kept))
                with ProcessPoolExecutor(1) as another:
                    os.write(write, b" %d" % another.submit(add, 1).result())
            finally:
                os._exit(0)
        os.close(write)
        os.waitpid(child, 0)
        (tmp_path / "gate").touch()
        assert isinstance(running.result(), int)
        assert os.read(read, 100) == b"0 2"
        os.close(read)


SCRIPT_BUSY = """
import os, sys, threading, time
from amltk_processes import ProcessPoolExecutor

def work(folder):
    import subprocess
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    open(os.path.join(folder, str(child.pid)), "w").close()
    open(os.path.join(folder, str(os.getpid())), "w").close()
    time.sleep(600)

executor = ProcessPoolExecutor(3)
executor.submit(time.sleep, 0).result()
for _ in range(2):
    executor.submit(work, sys.argv[1])
while len(os.listdir(sys.argv[1])) < 4:
    time.sleep(0.01)
print("ready", flush=True)
"""


def start(script: str, *args: object, **options: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", script, *map(str, args)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options)


@pytest.mark.parametrize(
    "end", ["os.kill(os.getpid(), 9)", "os._exit(3)", "os.kill(os.getpid(), 15)", "os.abort()", "time.sleep(600)"]
)
def test_nothing_outlives_the_main_process(end: str, tmp_path: Path, until) -> None:
    with start(SCRIPT_BUSY + end, tmp_path) as main:
        assert main.stdout.readline() == "ready\n"
        family = {p.pid for p in psutil.Process(main.pid).children(recursive=True)} if "sleep" in end else set()
        main.send_signal(signal.SIGKILL)  # those that have not ended by themselves
        main.wait()
        until(lambda: not alive(noted(tmp_path) | family))


def test_nothing_outlives_the_main_process_and_the_fork_server_when_both_are_killed(tmp_path: Path, until) -> None:
    for _ in range(3):
        with start(SCRIPT_BUSY + "time.sleep(600)", tmp_path) as main:
            assert main.stdout.readline() == "ready\n"
            (server,) = psutil.Process(main.pid).children()
            family = {main.pid, *(p.pid for p in psutil.Process(main.pid).children(recursive=True))}
            for process in (server, psutil.Process(main.pid)):
                process.suspend()  # so that none of them has time to do anything
            server.kill()
            main.kill()
            main.wait()
            until(lambda family=family: not alive(noted(tmp_path) | family))
        for path in tmp_path.iterdir():
            path.unlink()


def test_a_fork_of_the_main_process_does_not_keep_the_workers_of_a_killed_one(tmp_path: Path, until) -> None:
    script = SCRIPT_BUSY.replace(
        'print("ready"', 'child = os.fork() or time.sleep(600)\nprint(child, flush=True)\nprint("ready"'
    )
    with start(script + "time.sleep(600)", tmp_path) as main:
        child = int(main.stdout.readline())
        assert main.stdout.readline() == "ready\n"
        main.kill()
        main.wait()
        until(lambda: not alive(noted(tmp_path)))
        os.kill(child, signal.SIGKILL)


def test_ctrl_c_reaches_the_main_process_only(tmp_path: Path) -> None:
    script = """
import os, pathlib, sys, time
from amltk_processes import ProcessPoolExecutor
executor = ProcessPoolExecutor(1)
pid = executor.submit(os.getpid).result()
begun, go_on = pathlib.Path(sys.argv[1], "begun"), pathlib.Path(sys.argv[1], "go on")

def wait():
    begun.touch()
    while not go_on.exists():
        time.sleep(0.01)
    return os.getpid()

future = executor.submit(wait)
while not begun.exists():
    time.sleep(0.01)
try:
    print("ready", flush=True)
    time.sleep(60)
except KeyboardInterrupt:
    go_on.touch()
    print(future.result() == pid)
executor.shutdown()
"""
    with start(script, tmp_path, start_new_session=True) as main:
        assert main.stdout.readline() == "ready\n"
        os.killpg(main.pid, signal.SIGINT)
        out, err = main.communicate(timeout=30)
    assert (out, err, main.returncode) == ("True\n", "", 0)


@pytest.mark.parametrize("hold", ["executor = ", ""])
def test_the_interpreters_end_waits_for_what_was_submitted(hold: str, tmp_path: Path) -> None:
    script = f"""
import pathlib, sys, time
from amltk_processes import ProcessPoolExecutor
{hold}ProcessPoolExecutor(2).submit(lambda path: time.sleep(0.3) or path.touch(), pathlib.Path(sys.argv[1]) / "done")
"""
    with start(script, tmp_path) as main:
        out, err = main.communicate(timeout=30)
    assert (out, err, main.returncode) == ("", "", 0)
    assert (tmp_path / "done").exists()


def test_after_shutdown_nothing_is_left_even_with_many_workers(tmp_path: Path) -> None:
    before, threads = descriptors(), set(threading.enumerate())
    with ProcessPoolExecutor(8) as executor:
        gate = tmp_path / "gate"
        futures: list[Future[int]] = [executor.submit(wait_for, gate, str(i)) for i in range(8)]
        while len(list(tmp_path.iterdir())) < 8:
            time.sleep(0.01)
        gate.touch()
        assert len({future.result() for future in futures}) == 8
        pids = {process.pid for process in [*servers(), *workers()]}
        assert len(pids) == 9
    assert servers() == []
    assert set(threading.enumerate()) <= threads
    assert descriptors() == before
    assert alive(pids) == set()


def test_a_fork_closes_nothing_on_behalf_of_a_pool_that_has_ended(tmp_path: Path) -> None:
    with ProcessPoolExecutor(1) as executor:
        executor.submit(add, 1).result()
    files = [(tmp_path / str(number)).open("w") for number in range(20)]  # with the numbers that the pool had
    child = fork()
    if child == 0:
        try:
            for file in files:
                os.fstat(file.fileno())
        except OSError:
            os._exit(1)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    for file in files:
        file.close()
    executor.shutdown()
