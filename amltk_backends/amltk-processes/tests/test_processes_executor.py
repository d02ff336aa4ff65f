"""The pool as an executor: what `concurrent.futures` promises, and that one failure touches one call."""

from __future__ import annotations

import contextlib
import gc
import inspect
import multiprocessing
import os
import signal
import sys
import threading
import time
from concurrent.futures import BrokenExecutor, Future, ThreadPoolExecutor, as_completed, wait
from concurrent.futures import ProcessPoolExecutor as Standard
from pathlib import Path
from unittest.mock import Mock

import psutil
import pytest
from calls_for_processes import OwnInit, add, nothing, pid, wait_for
from processes_of_pools import servers

from amltk.exceptions import WorkerDied
from amltk_processes import BrokenProcessPool, ProcessPoolExecutor
from amltk_processes._worker_connection import WorkerConnection


def test_submit_and_map() -> None:
    with ProcessPoolExecutor(2) as executor:
        assert executor.submit(add, 1).result() == 2
        assert executor.submit(add, 1, y=5).result() == 6
        assert list(executor.map(add, range(5), range(5))) == [0, 2, 4, 6, 8]


def test_2000_calls_each_run_once_and_in_several_processes(tmp_path: Path) -> None:
    def note(number: int, folder: Path) -> int:
        with (folder / str(os.getpid())).open("a") as file:
            file.write(f"{number}\n")
        return number

    with ProcessPoolExecutor(2) as executor:
        futures = [executor.submit(note, number, tmp_path) for number in range(2000)]
        assert {future.result() for future in as_completed(futures)} == set(range(2000))
    notes = [file.read_text().split() for file in tmp_path.iterdir()]
    assert len(notes) == 2
    assert sorted(int(number) for note in notes for number in note) == list(range(2000))


def test_several_threads_submit_at_once() -> None:
    with ProcessPoolExecutor(2) as executor, ThreadPoolExecutor(4) as threads:
        done = threads.map(lambda start: [executor.submit(add, start + i).result() for i in range(100)], range(4))
        assert [sum(results) for results in done] == [sum(start + i + 1 for i in range(100)) for start in range(4)]


def test_no_more_processes_than_asked_for_and_only_as_needed() -> None:
    with ProcessPoolExecutor(3) as executor:
        assert servers() == []
        assert len({executor.submit(pid).result() for _ in range(5)}) == 1
        assert len(set(executor.map(pid, range(200)))) <= 3
        (server,) = servers()
        assert len(server.children()) <= 3


@pytest.mark.parametrize(("seconds", "calls"), [(0, 500), (0.002, 20)], ids=["many ahead", "one ahead"])
def test_a_call_never_waits_behind_a_long_one_while_a_worker_is_idle(
    tmp_path: Path, until, seconds: float, calls: int
) -> None:
    with ProcessPoolExecutor(2) as executor:
        list(executor.map(time.sleep, [seconds] * calls))  # both are known for such calls now, and get some ahead
        gate = tmp_path / "gate"
        futures = [executor.submit(nothing) for _ in range(20)]
        long = executor.submit(wait_for, gate)
        futures += [executor.submit(nothing) for _ in range(200)]
        wait(futures, timeout=20)
        assert all(future.done() for future in futures)
        assert not long.done()
        gate.touch()
        long.result()


def test_calls_begin_in_order_even_behind_one_that_turned_out_long(tmp_path: Path, until) -> None:
    with ProcessPoolExecutor(2) as executor:
        list(executor.map(nothing, range(500)))
        gate = tmp_path / "gate"
        long = executor.submit(wait_for, gate)
        order: list[int] = []
        futures = [executor.submit(time.sleep, 0.0002) for _ in range(4000)]
        for number, future in enumerate(futures):
            future.add_done_callback(lambda _, number=number: order.append(number))
        wait(futures)
        gate.touch()
        long.result()
        # They overtake what the other worker had been given: some hundreds, and more the slower the machine is.
        assert max(position - number for position, number in enumerate(order)) < 2000


def test_two_long_calls_run_at_the_same_time_though_calls_have_been_short(tmp_path: Path, until) -> None:
    with ProcessPoolExecutor(2) as executor:
        for _ in range(50):
            executor.submit(nothing).result()  # one worker only, and quick
        first = executor.submit(wait_for, tmp_path / "gate", "1")
        until((tmp_path / "began-1").exists)
        second = executor.submit(wait_for, tmp_path / "gate", "2")
        until((tmp_path / "began-2").exists)
        (tmp_path / "gate").touch()
        assert first.result() != second.result()


DEATHS = {
    "segfault": (lambda: __import__("ctypes").string_at(0), -signal.SIGSEGV, "SIGSEGV"),
    "exit": (lambda: __import__("os")._exit(7), 7, "exited with code 7"),
    "kill": (
        lambda: __import__("os").kill(__import__("os").getpid(), 9),
        -signal.SIGKILL,
        "SIGKILL",
    ),
}


@pytest.mark.parametrize("way", DEATHS)
def test_a_dead_worker_fails_its_own_call_alone(way: str) -> None:
    die, code, text = DEATHS[way]
    with ProcessPoolExecutor(2) as executor:
        list(executor.map(nothing, range(300)))  # so that calls travel in batches
        before = [executor.submit(add, i) for i in range(100)]
        deaths = [executor.submit(die) for _ in range(3)]
        after = [executor.submit(add, i) for i in range(100)]
        for death in deaths:
            error = death.exception()
            assert isinstance(error, WorkerDied)
            assert (error.exit_code, type(error.pid)) == (code, int)
            assert text in str(error)
            assert "<lambda>" in str(error)
        assert [future.result() for future in before + after] == [*range(1, 101)] * 2


def test_workers_killed_at_any_moment_lose_no_other_call_and_run_none_twice(tmp_path: Path) -> None:
    def note(number: int, folder: Path) -> int:
        (folder / f"{number}-{os.getpid()}-{time.monotonic_ns()}").touch()
        return number

    with ProcessPoolExecutor(2) as executor:
        futures = [executor.submit(note, number, tmp_path) for number in range(3000)]
        killed = 0
        while not all(future.done() for future in futures):
            (server,) = servers()
            for worker in server.children()[:1]:
                with contextlib.suppress(psutil.NoSuchProcess):  # the one before it, which is only being buried
                    worker.kill()
                    killed += 1
            futures[min(killed * 200, 2999)].exception()
        errors = [error for future in futures if (error := future.exception())]
        assert all(isinstance(error, WorkerDied) for error in errors)
        assert len(errors) <= killed
        assert {f.result() for f in futures if not f.exception()} <= {
            int(p.name.split("-")[0]) for p in tmp_path.iterdir()
        }
        assert len({p.name.split("-")[0] for p in tmp_path.iterdir()}) == len(list(tmp_path.iterdir()))


def test_an_idle_worker_that_dies_harms_nothing() -> None:
    with ProcessPoolExecutor(1) as executor:
        first = executor.submit(pid).result()
        os.kill(first, signal.SIGKILL)
        psutil.wait_procs([psutil.Process(first)] if psutil.pid_exists(first) else [], timeout=10)
        assert executor.submit(pid).result() != first


def test_a_call_that_an_idle_worker_gets_just_as_it_dies_is_done_by_another() -> None:
    with ProcessPoolExecutor(1) as executor:
        for _ in range(20):
            dies = executor.submit(pid).result()
            os.kill(dies, signal.SIGKILL)
            assert executor.submit(add, 1).result() == 2


def test_an_interrupt_while_a_call_is_given_to_an_idle_worker_leaves_nothing_halfway(monkeypatch) -> None:
    flush = WorkerConnection.flush

    def interrupted(worker: WorkerConnection) -> bool:
        if threading.current_thread() is threading.main_thread():
            raise KeyboardInterrupt
        return flush(worker)

    def submit_until_interrupted(executor: ProcessPoolExecutor) -> None:
        for _ in range(1000):  # at some of them the pool is awake, and takes the call itself
            executor.submit(pid).result()

    with ProcessPoolExecutor(1) as executor:
        first = executor.submit(pid).result()
        monkeypatch.setattr(WorkerConnection, "flush", interrupted)
        with pytest.raises(KeyboardInterrupt):
            submit_until_interrupted(executor)
        monkeypatch.undo()
        assert executor.submit(pid).result() != first


def test_a_worker_that_the_user_asks_to_end_is_no_end_of_the_pool(tmp_path: Path, until) -> None:
    with ProcessPoolExecutor(1) as executor:
        future = executor.submit(wait_for, tmp_path / "gate", "x")
        until((tmp_path / "began-x").exists)
        (server,) = servers()
        server.children()[0].terminate()
        error = future.exception()
        assert isinstance(error, WorkerDied)
        assert error.signal is signal.SIGTERM
        assert executor.submit(add, 1).result() == 2


def test_when_the_fork_server_dies_another_takes_its_place(tmp_path: Path, until, lives) -> None:
    with ProcessPoolExecutor(1) as executor:
        running = executor.submit(wait_for, tmp_path / "gate", "x")
        queued = executor.submit(add, 1)
        until((tmp_path / "began-x").exists)
        (server,) = servers()
        (worker,) = server.children()
        server.kill()
        assert isinstance(running.exception(), WorkerDied)
        assert not lives(worker.pid)
        assert queued.result() == 2


@pytest.mark.parametrize("initializer", [None, nothing])
def test_a_worker_makes_room_after_its_tasks(initializer) -> None:
    with ProcessPoolExecutor(1, max_tasks_per_child=3, initializer=initializer) as executor:
        pids = list(executor.map(pid, range(10)))
    assert [pids.count(p) for p in dict.fromkeys(pids)] == [3, 3, 3, 1]


def test_max_tasks_holds_with_more_workers() -> None:
    with ProcessPoolExecutor(2, max_tasks_per_child=2) as executor:
        pids = list(executor.map(pid, range(60)))
    assert max(pids.count(p) for p in pids) <= 2


def test_the_initializer_runs_once_in_each_worker_before_its_calls() -> None:
    def begin(value: object) -> object:
        os.environ["BEGUN"] = os.environ.get("BEGUN", "") + str(value)
        return threading.Lock()  # what it returns is nobody's business

    with ProcessPoolExecutor(2, initializer=begin, initargs=("x",)) as executor:
        assert set(executor.map(lambda _: os.environ["BEGUN"], range(100))) == {"x"}


@pytest.mark.parametrize("failure", ["raises", "exits", "dies"])
def test_an_initializer_that_fails_breaks_the_pool(failure: str) -> None:
    def begin() -> None:
        if failure == "raises":
            raise OwnInit(code=3)
        if failure == "exits":
            raise SystemExit(3)
        os._exit(3)

    with ProcessPoolExecutor(2, initializer=begin) as executor:
        futures = [executor.submit(add, i) for i in range(20)]
        errors = [future.exception(timeout=20) for future in futures]
        assert all(isinstance(error, BrokenProcessPool) and isinstance(error, BrokenExecutor) for error in errors)
        assert len(set(map(id, errors))) == 20  # one each: whoever raises it adds a traceback
        cause = errors[0].__cause__
        assert type(cause) is {"raises": OwnInit, "exits": SystemExit, "dies": WorkerDied}[failure]
        with pytest.raises(BrokenExecutor):
            executor.submit(add, 1)


def test_shutdown_can_cancel_what_has_not_begun(tmp_path: Path, until) -> None:
    executor = ProcessPoolExecutor(1)
    running = executor.submit(wait_for, tmp_path / "gate", "x")
    pending = [executor.submit(add, i) for i in range(10)]
    until((tmp_path / "began-x").exists)
    executor.shutdown(wait=False, cancel_futures=True)
    assert wait(pending, timeout=20).not_done == set()
    assert all(future.cancelled() for future in pending)
    with pytest.raises(RuntimeError, match="shut down"):
        executor.submit(add, 1)
    (tmp_path / "gate").touch()
    executor.shutdown()
    assert isinstance(running.result(), int)


def test_ctrl_c_in_a_block_ends_what_runs(lives) -> None:
    calls = []

    def program() -> None:
        with ProcessPoolExecutor(1) as executor:
            calls.extend([executor.submit(pid), *(executor.submit(time.sleep, 600) for _ in range(3))])
            calls[0].result()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        program()
    worker = calls[0].result()
    assert all(call.done() for call in calls)
    assert calls[-1].cancelled()
    assert not lives(worker)


def test_an_executor_without_any_call_starts_and_leaves_nothing() -> None:
    before = threading.active_count()
    executor = ProcessPoolExecutor()
    assert threading.active_count() == before
    executor.shutdown()
    with pytest.raises(RuntimeError, match="shut down"):
        executor.submit(add, 1)


def test_an_executor_that_nobody_holds_does_its_work_and_goes(until) -> None:
    before = threading.active_count()
    executor = ProcessPoolExecutor(1)
    future = executor.submit(add, 1)
    del executor
    gc.collect()
    assert future.result() == 2
    until(lambda: threading.active_count() == before)


def test_callbacks_may_submit_again() -> None:
    done: Future[int] = Future()
    with ProcessPoolExecutor(1) as executor:

        def again(future: Future[int]) -> None:
            if future.result() < 50:
                executor.submit(add, future.result()).add_done_callback(again)
            else:
                done.set_result(future.result())

        executor.submit(add, 0).add_done_callback(again)
        assert done.result(timeout=20) == 50


@pytest.mark.parametrize("error", [RuntimeError, SystemExit])
def test_a_callback_that_raises_harms_nothing(error: type[BaseException], tmp_path: Path) -> None:
    def fail(_: Future[int]) -> None:
        called.set()
        raise error

    called = threading.Event()
    with ProcessPoolExecutor(1) as executor:
        first = executor.submit(wait_for, tmp_path / "gate")
        first.add_done_callback(fail)
        (tmp_path / "gate").touch()
        assert called.wait(20)
        assert executor.submit(add, 2).result() == 3


def test_a_future_that_somebody_else_settles_harms_nothing(tmp_path: Path, until) -> None:
    with ProcessPoolExecutor(1) as executor:
        running = executor.submit(wait_for, tmp_path / "gate", "x")
        pending = executor.submit(add, 1)
        until((tmp_path / "began-x").exists)
        running.set_result(-1)
        pending.set_result(-1)
        (tmp_path / "gate").touch()
        assert executor.submit(add, 2).result() == 3


def test_threads_in_the_main_process_are_no_danger() -> None:
    stop = threading.Event()
    lock = threading.Lock()

    def busy() -> None:
        while not stop.is_set():
            with lock:
                sum(range(100))

    threads = [threading.Thread(target=busy) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        with ProcessPoolExecutor(2) as executor:
            assert list(executor.map(add, range(100))) == list(range(1, 101))
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def test_calls_run_in_the_main_thread_without_input_and_hear_no_ctrl_c() -> None:
    def look() -> tuple[object, ...]:
        handler = signal.getsignal(signal.SIGINT) is signal.default_int_handler
        return (
            threading.current_thread() is threading.main_thread(),
            os.read(0, 1),
            handler,
            os.getsid(0) == os.getpid(),
        )

    with ProcessPoolExecutor(1) as executor:
        assert executor.submit(look).result() == (True, b"", True, True)


def test_a_worker_has_no_descriptors_but_its_own(tmp_path: Path, until) -> None:
    def descriptors() -> list[str]:
        links = [path for path in Path("/proc/self/fd").iterdir() if int(path.name) > 2]
        return [str(path.readlink()) for path in links if path.exists() or path.is_symlink()]

    def of_a_child() -> str:
        import subprocess

        return subprocess.run(
            ["ls", "-l", "/proc/self/fd"], capture_output=True, text=True, check=True, close_fds=False
        ).stdout

    with ProcessPoolExecutor(4) as executor:
        first = [executor.submit(wait_for, tmp_path / "gate", str(i)) for i in range(3)]
        until(lambda: len(list(tmp_path.iterdir())) == 3)
        last = executor.submit(descriptors).result()
        child = executor.submit(of_a_child).result()
        (tmp_path / "gate").touch()
        wait(first)
    kinds = sorted(name.split(":")[0] for name in last if not name.startswith("/proc"))
    # Where calls begin, tokens, the pipe of the parent, calls, the way to ask the program.
    assert kinds == [str(Path.cwd()), "pipe", "pipe", "socket", "socket"]
    assert "socket" not in child


def test_a_call_that_forks_and_returns_twice_answers_once() -> None:
    def fork() -> int:
        return os.fork() and 1

    with ProcessPoolExecutor(1) as executor:
        assert executor.submit(fork).result() == 1
        assert [executor.submit(add, i).result() for i in range(10)] == list(range(1, 11))


def test_a_fork_of_a_workers_call_hides_no_death(tmp_path: Path) -> None:
    def fork_and_die() -> None:
        if os.fork():
            os._exit(9)
        time.sleep(600)

    with ProcessPoolExecutor(1) as executor:
        error = executor.submit(fork_and_die).exception(timeout=20)
        assert isinstance(error, WorkerDied)
        assert error.exit_code == 9


def test_options_by_position_are_those_of_the_standard_executor() -> None:
    ours, standard = (list(inspect.signature(each).parameters.values()) for each in (ProcessPoolExecutor, Standard))
    shared = len(standard)
    assert [(each.name, each.kind) for each in ours[:shared]] == [(each.name, each.kind) for each in standard]
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), setattr, (sys, "seen", 3)) as executor:
        assert executor.submit(lambda: __import__("sys").seen).result() == 3


def test_map_takes_the_standard_arguments() -> None:
    with ProcessPoolExecutor(1) as executor:
        assert list(executor.map(add, [1, 2], [3, 4], chunksize=10, timeout=30)) == [4, 6]
        with pytest.raises(ValueError, match="chunksize must be at least 1, got 0"):
            executor.map(add, [1], chunksize=0)


def test_behind_a_call_of_medium_length_one_other_is_sent_ahead(tmp_path: Path, until) -> None:
    with ProcessPoolExecutor(1) as executor:
        executor.submit(time.sleep, 0.002).result()
        gate = tmp_path / "gate"
        executor.submit(wait_for, gate, "1")
        until((tmp_path / "began-1").exists)
        futures = [executor.submit(nothing) for _ in range(3)]
        until(futures[0].running)
        assert not any(future.running() for future in futures[1:])
        gate.touch()


@pytest.mark.parametrize(("microseconds", "slots"), [(100, [2, 4, 8]), (10_000, [2, 2, 2]), (100_000, [1, 1, 1])])
def test_how_many_calls_a_worker_may_have_depends_on_how_long_they_take(microseconds: int, slots: list[int]) -> None:
    worker = WorkerConnection(None)
    try:
        for number, expected in enumerate(slots):
            worker.calls[number] = Mock()
            worker.answered(number, microseconds, started=0.0)
            assert worker.free_slots() == expected
    finally:
        worker.close()
