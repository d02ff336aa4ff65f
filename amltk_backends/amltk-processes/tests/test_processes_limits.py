"""Calls that are ended: cancelled, killed with all others, or out of time; and what that does to the rest: nothing."""

from __future__ import annotations

import os
import signal
import threading
import time
import weakref
from collections.abc import Callable
from concurrent.futures import CancelledError, as_completed, wait
from pathlib import Path
from typing import Any

import pytest
from calls_for_processes import add, family, nothing, pid, wait_for
from processes_of_pools import workers

from amltk.backend import CallOptions
from amltk.exceptions import CallTimeoutError, NotSupportedError, WorkerDied
from amltk_processes import BrokenProcessPool, ProcessPoolExecutor, _fork_server
from amltk_processes._call import Call
from amltk_processes._worker_connection import WorkerConnection


@pytest.fixture
def alive(lives) -> Callable[[Path], list[int]]:
    """Return who wrote down their id and still runs."""
    return lambda folder: [int(path.name) for path in folder.iterdir() if path.name.isdigit() and lives(int(path.name))]


# Cancelling


def test_cancel_ends_a_running_call_with_children_and_grandchildren(tmp_path: Path, until, alive) -> None:
    with ProcessPoolExecutor(1) as executor:
        future = executor.submit(family, tmp_path)
        until(lambda: len(list(tmp_path.iterdir())) == 4)
        waiter = threading.Thread(target=wait, args=([future],))
        waiter.start()
        assert future.cancel()
        assert future.cancel()
        assert future.cancelled()
        waiter.join(20)
        assert not waiter.is_alive()
        assert next(as_completed([future])) is future
        with pytest.raises(CancelledError):
            future.result()
        until(lambda: not alive(tmp_path))
        assert executor.submit(add, 1).result() == 2


def test_a_call_that_has_ended_is_not_cancelled() -> None:
    with ProcessPoolExecutor(1) as executor:
        future = executor.submit(add, 1)
        assert future.result() == 2
        before = workers()
        assert not future.cancel()
        assert future.result() == 2
        executor.submit(add, 1).result()
        assert workers() == before


def test_calls_behind_a_cancelled_one_run_once_and_the_cancelled_ones_among_them_never(
    tmp_path: Path, until, alive
) -> None:
    def note(number: int) -> int:
        (tmp_path / f"{number}-{time.monotonic_ns()}").touch()
        return number

    with ProcessPoolExecutor(1) as executor:
        list(executor.map(nothing, range(500)))  # so that many are handed over ahead
        long = executor.submit(wait_for, tmp_path / "gate", "x")
        others = [executor.submit(note, number) for number in range(100)]
        until((tmp_path / "began-x").exists)
        before = workers()
        for other in others[::2]:
            assert other.cancel()
        assert not alive(tmp_path)
        assert workers() == before  # what has not begun costs nobody's life
        assert long.cancel()
        assert [other.result() for other in others[1::2]] == list(range(1, 100, 2))
        assert all(other.cancelled() for other in others[::2])
    ran = sorted(int(path.name.split("-")[0]) for path in tmp_path.iterdir() if path.name[0].isdigit())
    assert ran == list(range(1, 100, 2))


def test_a_cancelled_call_that_had_only_been_handed_over_leaves_its_worker_alone(tmp_path: Path, until) -> None:
    with ProcessPoolExecutor(1) as executor:
        list(executor.map(nothing, range(500)))
        long = executor.submit(wait_for, tmp_path / "gate", "x")
        behind = [executor.submit(add, number) for number in range(20)]
        until((tmp_path / "began-x").exists)
        for future in behind:
            assert future.cancel()
        (tmp_path / "gate").touch()
        assert long.result() == workers()[0].pid


def test_cancel_from_callbacks_and_from_several_threads(tmp_path: Path, until) -> None:
    said: list[bool] = []
    with ProcessPoolExecutor(2) as executor:
        running = executor.submit(wait_for, tmp_path / "gate", "x")
        until((tmp_path / "began-x").exists)
        running.add_done_callback(lambda future: said.append(future.cancel()))
        threads = [threading.Thread(target=lambda: said.append(running.cancel())) for _ in range(4)]
        executor.submit(add, 1).add_done_callback(lambda _: said.append(running.cancel()))
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        until(lambda: len(said) == 6)
        assert said == [True] * 6
        own = executor.submit(add, 1)
        own.add_done_callback(lambda future: said.append(future.cancel()))
        assert own.result() == 2
        until(lambda: len(said) == 7)
        assert not said[-1]


def test_a_callback_that_raises_when_its_call_is_cancelled_harms_nothing(tmp_path: Path, until) -> None:
    def fail(_: object) -> None:
        raise SystemExit

    executor = ProcessPoolExecutor(1)
    running = executor.submit(wait_for, tmp_path / "gate", "x")
    pending = [executor.submit(add, number) for number in range(5)]
    for future in pending:
        future.add_done_callback(fail)
    until((tmp_path / "began-x").exists)
    executor.shutdown(wait=False, cancel_futures=True)
    assert not wait(pending, timeout=20).not_done
    assert all(future.cancelled() for future in pending)
    (tmp_path / "gate").touch()
    executor.shutdown()
    assert isinstance(running.result(), int)  # only what had not begun was cancelled


def test_cancel_while_the_executor_shuts_down(tmp_path: Path, until) -> None:
    executor = ProcessPoolExecutor(1)
    running = executor.submit(wait_for, tmp_path / "gate", "x")
    last = executor.submit(add, 1)
    until((tmp_path / "began-x").exists)
    executor.shutdown(wait=False)
    assert running.cancel()
    assert last.result() == 2
    executor.shutdown()
    assert not last.cancel()
    assert running.cancel()


def test_cancel_and_kill_calls_in_a_broken_pool() -> None:
    with ProcessPoolExecutor(2, initializer=lambda: 1 / 0) as executor:
        future = executor.submit(add, 1)
        assert isinstance(future.exception(timeout=20), BrokenProcessPool)
        assert not future.cancel()
        executor.kill_calls()
        executor.kill_workers()


@pytest.mark.parametrize("end", ["result", "error", "death", "timeout", "cancel"])
def test_nothing_of_a_call_is_held_longer_than_it_lives(end: str, tmp_path: Path, until) -> None:
    class Argument:
        pass

    def work(_: object) -> None:
        (tmp_path / "began").touch()
        if end == "error":
            raise LookupError
        if end == "death":
            os._exit(1)
        if end != "result":
            time.sleep(60)

    with ProcessPoolExecutor(1) as executor:
        argument = Argument()
        alive = weakref.ref(argument)
        future = executor.submit_call(work, (argument,), {}, CallOptions(timeout=0.3 if end == "timeout" else 30))
        del argument
        if end == "cancel":
            until((tmp_path / "began").exists)
            future.cancel()
        wait([future])
        until(lambda: alive() is None)


def test_who_ignores_sigterm_keeps_its_place_until_it_is_killed(tmp_path: Path, until, alive, monkeypatch) -> None:
    monkeypatch.setattr(_fork_server, "GRACE", 0.3)
    with ProcessPoolExecutor(1) as executor:
        deaf = executor.submit(family, tmp_path, deaf=True)
        until(lambda: len(list(tmp_path.iterdir())) == 4)
        began = time.monotonic()
        deaf.cancel()
        assert executor.submit(alive, tmp_path).result() == []
        assert time.monotonic() - began >= 0.3


@pytest.mark.parametrize("n_workers", [1, 2])
def test_cancelling_at_any_moment_never_harms_another_call(n_workers: int, tmp_path: Path) -> None:
    def note(number: int) -> int:
        with (tmp_path / str(number)).open("a") as file:
            file.write(".")
        return number

    with ProcessPoolExecutor(n_workers) as executor:
        futures = [executor.submit(note, number) for number in range(1500)]
        said = {}
        for number in range(0, 1500, 50):
            futures[number // 2].exception() if not futures[number // 2].cancelled() else None
            said[number] = futures[number].cancel()
        wait(futures, timeout=50)
        for number, future in enumerate(futures):
            assert future.done()
            assert future.cancelled() == said.get(number, False)
            assert future.cancelled() or future.result() == number
    assert all(len(path.read_text()) <= 1 for path in tmp_path.iterdir())  # at most once, each


@pytest.mark.parametrize("how", ["cancel", "kill_calls"])
def test_an_answer_that_comes_while_the_next_call_is_about_to_be_ended_is_kept(
    how: str, tmp_path: Path, until, monkeypatch
) -> None:
    first_gate, began = tmp_path / "first", tmp_path / "began-b"
    reclaim, armed = WorkerConnection.reclaim, []

    def late(worker: WorkerConnection, *args: int) -> list[Call]:
        if armed:  # the worker answers its first call, and begins the second one, just before that could be taken back
            armed.clear()
            first_gate.write_text("")
            until(began.exists)
        return reclaim(worker, *args)

    monkeypatch.setattr(WorkerConnection, "reclaim", late)
    monkeypatch.setattr(WorkerConnection, "is_stuck", lambda _: False)
    with ProcessPoolExecutor(1) as executor:
        for _ in range(20):
            executor.submit(nothing).result()  # so that calls are sent ahead
        first = executor.submit(wait_for, first_gate, "a")
        second = executor.submit(wait_for, tmp_path / "second", "b")
        until((tmp_path / "began-a").exists)
        until(lambda: any(len(worker.calls) == 2 for worker in executor._dispatcher.pool.workers))
        armed.append(how)
        second.cancel() if how == "cancel" else executor.kill_calls()
        first.result(20)
        assert began.exists()
        assert second.cancelled() or isinstance(second.exception(20), WorkerDied)


def test_map_leaves_alone_what_runs_when_it_is_given_up(tmp_path: Path, until) -> None:
    def fail_or_wait(number: int) -> int:
        if number == 0:
            until_began = time.monotonic() + 20
            while not (tmp_path / "began-x").exists() and time.monotonic() < until_began:
                time.sleep(0.002)
            raise LookupError
        (tmp_path / f"ran-{number}").touch()
        wait_for(tmp_path / "gate", "x")
        (tmp_path / "done").touch()
        return number

    with ProcessPoolExecutor(2) as executor:
        with pytest.raises(LookupError):
            list(executor.map(fail_or_wait, range(20)))
        (tmp_path / "gate").touch()
    assert (tmp_path / "done").exists()
    assert len(list(tmp_path.glob("ran-*"))) < 19


def test_calls_of_map_are_cancelled_at_shutdown_though_they_had_been_handed_over(tmp_path: Path, until) -> None:
    executor = ProcessPoolExecutor(1)
    list(executor.map(nothing, range(500)))
    running = executor.submit(wait_for, tmp_path / "gate", "x")
    results = executor.map(add, range(30))
    until((tmp_path / "began-x").exists)
    executor.shutdown(wait=False, cancel_futures=True)
    with pytest.raises(CancelledError):
        next(results)
    (tmp_path / "gate").touch()
    executor.shutdown()
    assert isinstance(running.result(), int)


# Ending all


def test_kill_calls_ends_everything_and_the_pool_goes_on(tmp_path: Path, until, alive) -> None:
    with ProcessPoolExecutor(2) as executor:
        running = [executor.submit(family, tmp_path) for _ in range(2)]
        pending = [executor.submit(add, number) for number in range(10)]
        until(lambda: len(list(tmp_path.iterdir())) == 8)
        executor.kill_calls()
        assert not alive(tmp_path)
        assert all(future.cancelled() for future in pending)
        for future in running:
            error = future.exception(timeout=0)
            assert isinstance(error, WorkerDied)
            assert "was ended by kill_calls()" in str(error)
        assert list(executor.map(add, range(20))) == list(range(1, 21))
        idle = {worker.pid for worker in workers()}
        executor.kill_calls()
        assert {executor.submit(pid).result() for _ in range(5)} <= idle


def test_kill_calls_without_calls_after_the_end_and_from_a_callback(tmp_path: Path, until) -> None:
    executor = ProcessPoolExecutor(1)
    executor.kill_calls()
    assert executor.submit(add, 1).result() == 2
    later = []

    def kill_and_go_on(_: object) -> None:
        executor.kill_calls()
        later.append(executor.submit(add, 2))

    running = executor.submit(wait_for, tmp_path / "gate", "x")
    until((tmp_path / "began-x").exists)
    running.add_done_callback(kill_and_go_on)
    running.cancel()  # in this thread, so the callback waits for the end
    until(lambda: later)
    assert later[0].result() == 3
    ended = executor.submit(add, 3)
    ended.add_done_callback(kill_and_go_on)  # in the dispatcher's thread
    until(lambda: len(later) == 2)
    assert later[1].result() == 3
    executor.shutdown()
    executor.kill_calls()


def test_kill_calls_while_the_executor_shuts_down(tmp_path: Path, until) -> None:
    executor = ProcessPoolExecutor(1)
    running = executor.submit(wait_for, tmp_path / "gate", "x")
    pending = executor.submit(add, 1)
    until((tmp_path / "began-x").exists)
    executor.shutdown(wait=False)
    threads = [threading.Thread(target=executor.kill_calls) for _ in range(3)]
    for thread in threads:
        thread.start()
    executor.shutdown()
    for thread in threads:
        thread.join(20)
        assert not thread.is_alive()
    assert isinstance(running.exception(), WorkerDied)
    assert pending.cancelled()


# Limits


def stuck_in_c() -> None:
    import ctypes

    ctypes.PyDLL(None).sleep(60)  # with the interpreter's lock held


def deaf_and_stuck() -> None:
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        signal.signal(number, signal.SIG_IGN)
    time.sleep(60)


def stopped() -> None:
    os.kill(os.getpid(), signal.SIGSTOP)


@pytest.mark.parametrize("way", [stuck_in_c, deaf_and_stuck, stopped])
def test_a_call_that_takes_too_long_is_ended_whatever_it_does(way, lives) -> None:
    with ProcessPoolExecutor(1) as executor:
        began = time.monotonic()
        error = executor.submit_call(way, (), {}, CallOptions(timeout=0.3)).exception()
        assert time.monotonic() - began >= 0.3
        assert isinstance(error, CallTimeoutError)
        assert isinstance(error, TimeoutError)
        assert error.timeout == 0.3
        assert not lives(error.pid)
        for word in (way.__name__, "0.3 s", f"process {error.pid} on {os.uname().nodename}", "Retry(on=Call"):
            assert word in str(error)
        assert executor.submit_call(add, (1,), {"y": 2}, CallOptions(timeout=20)).result() == 3


def test_the_message_has_the_arguments_in_short() -> None:
    class Odd:
        def __repr__(self) -> str:
            raise ValueError

    with ProcessPoolExecutor(1) as executor:
        error = executor.submit_call(
            lambda *_, **__: time.sleep(60), (list(range(999)),), {"key": "v"}, CallOptions(timeout=0.1)
        ).exception()
        assert "<lambda>([0, 1, 2, 3, 4, 5, ...], key='v') took longer" in str(error)
        error = executor.submit(lambda _: os._exit(3), Odd()).exception()
        assert "<lambda>(<Odd object>)" in str(error)


def test_all_that_a_call_out_of_time_had_started_is_gone_when_it_fails(tmp_path: Path, until, alive) -> None:
    with ProcessPoolExecutor(1) as executor:
        future = executor.submit_call(family, (tmp_path,), {"deaf": True}, CallOptions(timeout=2))
        until(lambda: len(list(tmp_path.iterdir())) == 4)
        assert isinstance(future.exception(), CallTimeoutError)
        assert not alive(tmp_path)


def test_the_time_in_the_queue_and_the_start_of_the_worker_do_not_count(tmp_path: Path) -> None:
    with ProcessPoolExecutor(1) as executor:
        futures = [executor.submit_call(time.sleep, (0.3,), {}, CallOptions(timeout=1)) for _ in range(5)]
        assert [future.result() for future in futures] == [None] * 5
    with ProcessPoolExecutor(1, initializer=time.sleep, initargs=(0.8,)) as executor:
        assert executor.submit_call(add, (1,), {}, CallOptions(timeout=0.6)).result() == 2


def test_calls_that_wait_behind_one_out_of_time_are_run(tmp_path: Path) -> None:
    def note(number: int) -> int:
        with (tmp_path / str(number)).open("a") as file:
            file.write(".")
        return number

    with ProcessPoolExecutor(1) as executor:
        list(executor.map(nothing, range(500)))
        late = executor.submit_call(time.sleep, (60,), {}, CallOptions(timeout=0.3))
        timed = [executor.submit_call(note, (number,), {}, CallOptions(timeout=20)) for number in range(40)]
        untimed = [executor.submit(note, number) for number in range(40, 80)]
        assert isinstance(late.exception(), CallTimeoutError)
        assert [future.result() for future in timed + untimed] == list(range(80))
    assert [(tmp_path / str(number)).read_text() for number in range(80)] == ["."] * 80


def test_a_limit_does_not_count_for_the_calls_around_it() -> None:
    with ProcessPoolExecutor(1) as executor:
        list(executor.map(nothing, range(500)))
        quick = executor.submit_call(nothing, (), {}, CallOptions(timeout=0.2))
        slow = executor.submit(time.sleep, 0.6)
        last = executor.submit_call(nothing, (), {}, CallOptions(timeout=0.2))
        assert [future.result() for future in (quick, slow, last)] == [None] * 3


def test_a_call_out_of_time_can_be_cancelled_until_it_is_gone_and_never_ends_twice(tmp_path: Path) -> None:
    with ProcessPoolExecutor(2) as executor:
        for moment in (0.0, 0.005, 0.01, 0.02, 0.05):
            future = executor.submit_call(time.sleep, (60,), {}, CallOptions(timeout=0.1))
            ends: list[object] = []
            future.add_done_callback(ends.append)
            time.sleep(0.1 + moment)
            cancelled = future.cancel()
            assert future.cancelled() == cancelled
            assert cancelled or isinstance(future.exception(), CallTimeoutError)
            assert executor.submit(add, 1).result() == 2
            assert ends == [future]


@pytest.mark.parametrize(("timeout", "error"), [(0, ValueError), (-1, ValueError), ("1", TypeError)])
def test_wrong_limits_are_refused(timeout: object, error: type[Exception]) -> None:
    with pytest.raises(error, match="timeout must be a number of seconds"):
        CallOptions(timeout=timeout)  # type: ignore[arg-type] # that is the mistake


@pytest.mark.parametrize("options", [{"priority": 1}, {"resources": {"GPU": 1}}, {"timeout": 9, "priority": -1}])
def test_options_that_the_pool_does_not_accept_are_refused(options: dict[str, Any]) -> None:
    with ProcessPoolExecutor(1) as executor, pytest.raises(NotSupportedError, match=r"does not accept .* timeout"):
        executor.submit_call(add, (1,), {}, CallOptions(**options))


def test_limits_hold_until_the_interpreters_end(tmp_path: Path) -> None:
    import subprocess
    import sys

    script = "import time\nfrom amltk.backend import CallOptions\n"
    script += "from amltk_processes import ProcessPoolExecutor as P\ne = P(1)\n"
    script += "future = e.submit_call(time.sleep, (60,), {}, CallOptions(timeout=0.3))\n"
    script += "future.add_done_callback(lambda future: print(type(future.exception()).__name__))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=30, check=True)
    assert (done.stdout, done.stderr) == ("CallTimeoutError\n", "")


@pytest.mark.parametrize("seconds", [30 * 24 * 3600, 1e9])
def test_a_limit_may_be_of_any_length(seconds: float) -> None:
    with ProcessPoolExecutor(1, heartbeat_timeout=seconds) as executor:
        long = executor.submit_call(time.sleep, (0.1,), {}, CallOptions(timeout=seconds))
        assert executor.submit_call(add, (1,), {}, CallOptions(timeout=seconds)).result(timeout=20) == 2
        assert long.result(timeout=20) is None
