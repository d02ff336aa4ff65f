"""However processes are started, the pool keeps its promises."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import BrokenExecutor
from pathlib import Path

import calls_for_processes
import psutil
import pytest
from calls_for_processes import add, family, pid, wait_for
from processes_of_pools import servers

from amltk.exceptions import WorkerDied
from amltk_processes import ProcessPoolExecutor

METHODS = ["forkserver", "spawn", "fork"]


def pool(method: str, max_workers: int = 2, **options) -> ProcessPoolExecutor:
    return ProcessPoolExecutor(max_workers, mp_context=multiprocessing.get_context(method), **options)


def alive(pids: set[int]) -> set[int]:
    def is_alive(pid: int) -> bool:
        try:
            return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return False

    return {pid for pid in pids if is_alive(pid)}


def noted(folder: Path) -> set[int]:
    return {int(path.name) for path in folder.iterdir()}


@pytest.mark.parametrize("method", METHODS)
class TestEachStartMethod:
    def test_calls_of_all_kinds(self, method: str) -> None:
        factor = 3
        with pool(method) as executor:
            assert list(executor.map(add, range(200))) == list(range(1, 201))
            assert executor.submit(lambda x: x * factor, 5).result() == 15
            assert isinstance(executor.submit(lambda: 1 / 0).exception(), ZeroDivisionError)

    def test_each_worker_leads_a_session(self, method: str) -> None:
        with pool(method) as executor:
            assert executor.submit(lambda: (os.getsid(0), os.getpgrp()) == (os.getpid(),) * 2).result()

    def test_a_default_timeout_of_sockets_is_not_ours(self, method: str) -> None:
        def add_up(numbers: bytes) -> bytes:
            socket.setdefaulttimeout(0.05)
            return numbers + b"." * 3_000_000

        def wait_in_vain() -> None:
            with contextlib.suppress(TimeoutError):
                socket.socketpair()[0].recv(1)  # the user's own have it

        before = socket.getdefaulttimeout()
        socket.setdefaulttimeout(0.05)
        try:
            initializer, initargs = socket.setdefaulttimeout, (0.05,)
            with pool(method, initializer=initializer, initargs=initargs) as executor:
                for _ in range(3):
                    assert len(executor.submit(add_up, bytes(5_000_000)).result(timeout=40)) == 8_000_000
                executor.submit(wait_in_vain).result(timeout=20)
                time.sleep(0.1)  # longer than it is
                assert executor.submit(add, 1).result(timeout=20) == 2
                assert isinstance(executor.submit(os._exit, 3).exception(timeout=20), WorkerDied)
                assert executor.submit(add, 2).result(timeout=20) == 3
        finally:
            socket.setdefaulttimeout(before)

    def test_it_starts_clean(self, method: str) -> None:
        def look() -> object:
            handlers = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGCHLD)]
            at_home = threading.current_thread() is threading.main_thread() and threading.active_count() == 1
            return handlers, at_home, signal.pthread_sigmask(signal.SIG_BLOCK, ()), sys.stdin.read(), os.read(0, 1)

        before = signal.signal(signal.SIGTERM, lambda *_: None)
        try:
            with pool(method) as executor:
                seen = executor.submit(look).result()
        finally:
            signal.signal(signal.SIGTERM, before)
        assert seen == ([signal.SIG_DFL, signal.SIG_DFL], True, set(), "", b"")

    def test_a_death_fails_its_own_call_alone_and_tells(self, method: str, capfd) -> None:
        def die() -> None:
            os.write(2, b"farewell\n")
            os.abort()

        with pool(method) as executor:
            calls = [executor.submit(add, i) for i in range(50)]
            deaths = [executor.submit(die) for _ in range(3)]
            calls += [executor.submit(add, i) for i in range(50)]
            for death in deaths:
                error = death.exception()
                assert isinstance(error, WorkerDied)
                assert error.signal is signal.SIGABRT
                assert "Fatal Python error: Aborted" in error.stderr
            assert [call.result() for call in calls] == [*range(1, 51)] * 2
        assert capfd.readouterr().err.count("farewell") == 3

    def test_a_fork_that_is_warned_of_goes_on(self, method: str, forks_warn) -> None:
        with pool(method) as executor:
            assert list(executor.map(add, range(20))) == list(range(1, 21))

    def test_options(self, method: str) -> None:
        def begin(value: str) -> None:
            os.environ["BEGUN"] = value

        with pool(method, 1, initializer=begin, initargs=("yes",), max_tasks_per_child=2) as executor:
            seen = list(executor.map(lambda _: (os.environ["BEGUN"], os.getpid()), range(6)))
        assert {begun for begun, _ in seen} == {"yes"}
        assert len({pid for _, pid in seen}) == 3

    def test_exit_functions_of_a_worker_run(self, method: str, tmp_path: Path) -> None:
        def register(path: Path) -> None:
            import atexit

            atexit.register(path.touch)

        with pool(method) as executor:
            executor.submit(register, tmp_path / "bye").result()
        assert (tmp_path / "bye").exists()

    def test_kill_ends_children_and_grandchildren(self, method: str, tmp_path: Path, until) -> None:
        executor = pool(method)
        running = executor.submit(family, tmp_path)
        until(lambda: len(noted(tmp_path)) == 4)
        executor.kill_workers()
        assert alive(noted(tmp_path)) == set()
        assert isinstance(running.exception(timeout=0), WorkerDied)

    def test_when_the_fork_server_dies_another_takes_its_place(self, method: str, tmp_path: Path, until) -> None:
        with pool(method, 1) as executor:
            running = executor.submit(wait_for, tmp_path / "gate", "x")
            queued = executor.submit(add, 1)
            until((tmp_path / "began-x").exists)
            (server,) = servers()
            server.kill()
            assert isinstance(running.exception(), WorkerDied)
            assert queued.result() == 2

    @pytest.mark.parametrize("victims", [["main"], ["server"], ["server", "main"]], ids="+".join)
    def test_nothing_outlives_the_main_process(self, method: str, victims: list[str], tmp_path: Path, until) -> None:
        with start(BUSY, method, tmp_path) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            main = psutil.Process(process.pid)
            (server,) = main.children()
            all_of_them = {main.pid, *(child.pid for child in main.children(recursive=True))}
            assert len(all_of_them) == 5  # two busy workers, one of which has a child
            chosen = [{"main": main, "server": server}[victim] for victim in victims]
            for victim in chosen:
                victim.suspend()  # so that none of them has time to do anything
            for victim in chosen:
                victim.kill()
            if "main" not in victims:  # it goes on, and ends when its calls have
                assert process.stdout.readline() == "2 died\n"
            until(lambda: not alive(noted(tmp_path) | (all_of_them - {main.pid})))
            process.kill()


BUSY = """
import multiprocessing, os, signal, sys, threading, time
from amltk_processes import ProcessPoolExecutor
from concurrent.futures import wait

def work(folder, deaf):
    import ctypes, signal, subprocess
    if deaf:  # to everything, in compiled code that keeps the lock of the interpreter
        signal.signal(signal.SIGTERM, lambda *_: None)
        open(os.path.join(folder, str(os.getpid())), "w").close()
        ctypes.PyDLL(None).sleep(600)
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    open(os.path.join(folder, str(child.pid)), "w").close()
    time.sleep(600)

executor = ProcessPoolExecutor(2, mp_context=multiprocessing.get_context(sys.argv[1]))
calls = [executor.submit(work, sys.argv[2], deaf) for deaf in (True, False)]
while len(os.listdir(sys.argv[2])) < 2:
    time.sleep(0.01)
print("ready", flush=True)
wait(calls)
print(len([call for call in calls if type(call.exception()).__name__ == "WorkerDied"]), "died", flush=True)
time.sleep(600)
"""


def start(script: str, *args: object, **options: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", script, *map(str, args)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options)


def test_spawn_is_a_fresh_interpreter_each_time() -> None:
    with pool("spawn") as executor:
        command = psutil.Process(executor.submit(pid).result()).cmdline()
        assert "be_fresh_worker" in command[command.index("-c") + 1]
        assert executor.submit(lambda: sys.argv).result() == sys.argv


def test_workers_that_die_before_they_begin_break_the_pool_and_say_why(monkeypatch) -> None:
    from amltk_processes import _fork_server

    command = _fork_server.child_command
    monkeypatch.setattr(
        _fork_server,
        "child_command",
        lambda function: command("sys:no_such_thing_here" if "fresh_worker" in function else function),
    )
    with pool("spawn") as executor:
        error = executor.submit(add, 1).exception()
        assert isinstance(error, BrokenExecutor)
        assert "5 workers in a row died before their first call" in str(error)
        assert "exited with code 1" in str(error)
        assert "no_such_thing_here" in str(error)


class TestFork:
    def test_it_knows_what_the_main_process_knew_at_the_first_call(self, monkeypatch) -> None:
        monkeypatch.setattr(calls_for_processes, "KNOWN", threading.Lock(), raising=False)
        with pool("fork") as executor:
            assert executor.submit(lambda: type(calls_for_processes.KNOWN).__name__).result() == "lock"
            monkeypatch.setattr(calls_for_processes, "KNOWN", 2)
            assert executor.submit(lambda: type(calls_for_processes.KNOWN).__name__).result() == "lock"

    def test_exit_functions_and_buffers_of_the_main_process_are_its_own(self, tmp_path: Path) -> None:
        script = """
import atexit, multiprocessing, sys, tempfile, weakref
from amltk_processes import ProcessPoolExecutor
sys.stdout.write("once;")
file = open(sys.argv[1] + "/file", "w")
file.write("written once")
folder = tempfile.TemporaryDirectory()
atexit.register(print, "exit")
with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("fork")) as executor:
    list(executor.map(abs, range(100)))
import os
print(os.path.isdir(folder.name))
"""
        with start(script, tmp_path) as main:
            assert main.communicate(timeout=30) == ("once;True\nexit\n", "")
        assert (tmp_path / "file").read_text() == "written once"

    def test_it_holds_no_descriptors_of_the_main_process(self, tmp_path: Path) -> None:
        read, write = os.pipe()
        try:
            with (tmp_path / "file").open("w") as file, pool("fork") as executor:
                look = executor.submit(lambda fd: str(Path(f"/proc/self/fd/{fd}").readlink()), file.fileno())
                assert look.result() == os.devnull
                os.close(write)
                write = -1
                assert os.read(read, 1) == b""  # nobody else has it, or this would wait for ever
        finally:
            os.close(read)
            if write >= 0:
                os.close(write)

    def test_log_records_are_handled_once_by_the_main_process(self, tmp_path: Path) -> None:
        script = """
import logging, multiprocessing, os
from amltk_processes import ProcessPoolExecutor
logging.basicConfig(format="%(process)d %(message)s")
alone = logging.getLogger("alone")
alone.addHandler(logging.StreamHandler())
alone.propagate = False

def log():
    logging.getLogger("some").warning("some")
    logging.getLogger("alone").warning("alone")
    return os.getpid()

with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("fork")) as executor:
    print(executor.submit(log).result())
"""
        with start(script) as main:
            out, err = main.communicate(timeout=30)
        assert err == f"{int(out)} some\nalone\n"

    def test_two_pools_do_not_hold_each_other(self, tmp_path: Path, until) -> None:
        script = BUSY.replace(
            'print("ready"',
            """
other = ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("fork"))
other.submit(abs, 1).result()
print("ready\"""",
        )
        with start(script, "fork", tmp_path) as main:
            assert main.stdout is not None
            assert main.stdout.readline() == "ready\n"
            everybody = {child.pid for child in psutil.Process(main.pid).children(recursive=True)}
            assert len(everybody) == 6
            main.kill()
            main.wait()
            until(lambda: not alive(everybody))

    def test_it_works_beside_threads(self) -> None:
        stop = threading.Event()
        threads = [threading.Thread(target=stop.wait) for _ in range(3)]
        for thread in threads:
            thread.start()
        try:
            with pool("fork") as executor:
                assert list(executor.map(add, range(100))) == list(range(1, 101))
        finally:
            stop.set()
            for thread in threads:
                thread.join()

    def test_where_no_process_can_be_had_the_pool_is_broken(self, monkeypatch) -> None:
        def refuse() -> int:
            raise BlockingIOError(11, "too many")

        monkeypatch.setattr(os, "fork", refuse)
        with pool("fork") as executor:
            for _ in range(2):
                with pytest.raises(BrokenExecutor, match="too many"):
                    executor.submit(add, 1)


@pytest.mark.parametrize("context", ["spawn", multiprocessing])
def test_a_start_method_is_given_as_its_context(context: object) -> None:
    with pytest.raises(TypeError, match="mp_context"):
        ProcessPoolExecutor(mp_context=context)


def test_death_to_first_call_of_the_successor_takes_a_moment() -> None:
    with ProcessPoolExecutor(1) as executor:
        executor.submit(add, 1).result()
        began = time.monotonic()
        executor.submit(os._exit, 1).exception()
        executor.submit(add, 1).result()
    assert time.monotonic() - began < 5


@pytest.mark.parametrize("method", ["default", *METHODS])
def test_proxies_of_a_manager_can_be_passed(method: str) -> None:
    script = """
import sys
from amltk_processes import ProcessPoolExecutor

def use(executor):
    with multiprocessing.Manager() as manager:
        shared = manager.list()
        executor.submit(shared.append, 5).result()
        print(shared)

if __name__ == "__main__":
    if sys.argv[1] == "default":
        executor = ProcessPoolExecutor(1)
    else:
        import multiprocessing
        executor = ProcessPoolExecutor(1, mp_context=multiprocessing.get_context(sys.argv[1]))
    with executor:
        assert executor.submit(abs, 1).result() == 1
        import multiprocessing  # only now the workers can be told its key
        use(executor)
    with ProcessPoolExecutor(1) as executor:
        use(executor)
"""
    with start(script, method) as main:
        assert main.communicate(timeout=50) == ("[5]\n[5]\n", "")
