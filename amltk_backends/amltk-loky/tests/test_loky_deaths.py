"""A worker of loky dies: which calls fail, and which go on."""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from pathlib import Path

import calls_for_loky as calls
import loky
import psutil
import pytest

from amltk.exceptions import WorkerDied


def runs(folder: Path) -> list[int]:
    """Return the processes in which calls ran; once for each call."""
    return [int(path.name.split("-")[0]) for path in folder.iterdir()]


def test_it_takes_only_its_call_with_it(make, tmp_path, until):
    """Others that run are not even disturbed: each began once."""
    executor = make(3)
    running, dying = tmp_path / "running", tmp_path / "dying"
    running.mkdir()
    dying.mkdir()
    others = [executor.submit(calls.wait_for, tmp_path / "gate", running) for _ in range(2)]
    until(lambda: len(runs(running)) == 2)
    dead = executor.submit(calls.die, dying)
    with pytest.raises(WorkerDied) as info:
        dead.result(30)
    (tmp_path / "gate").touch()
    assert sorted(other.result(30) for other in others) == sorted(runs(running))
    assert [info.value.pid] == runs(dying)
    assert info.value.signal is signal.SIGKILL
    assert "All other calls go on" in str(info.value)


def test_no_call_runs_twice_whoever_dies_when(make, tmp_path):
    """Thirty calls, every third of which kills its worker."""
    executor = make(3)
    folders = [tmp_path / str(n) for n in range(30)]
    for folder in folders:
        folder.mkdir()
    futures = [executor.submit(calls.note if n % 3 else calls.die, folder) for n, folder in enumerate(folders)]
    ends = [type(future.exception(50)) for future in futures]
    assert Counter(ends) == {WorkerDied: 10, type(None): 20}
    assert all(len(runs(folder)) == 1 for folder in folders)


def test_a_worker_that_dies_while_it_has_nothing_to_do_is_replaced(make, until):
    executor = make(1)
    pid = executor.submit(os.getpid).result(30)
    for _ in range(3):
        os.kill(pid, signal.SIGKILL)
        pid, before = executor.submit(os.getpid).result(30), pid  # at once, before loky has noticed
        assert pid != before
        until(lambda before=before: not psutil.pid_exists(before))


def test_a_call_whose_worker_died_before_it_began_is_given_to_another_one_once(make, tmp_path):
    executor = make(1, initializer=calls.die_in_the_initializer, initargs=(tmp_path,))
    with pytest.raises(WorkerDied, match=r"abs\(-1\) ended with its worker, .* exited with code 5") as info:
        executor.submit(abs, -1).result(30)
    assert info.value.exit_code == 5
    assert len(set(runs(tmp_path))) == 2


def test_a_worker_that_dies_in_the_middle_of_a_large_argument(make):
    """The thread that sends it ends, too."""
    executor = make(1)
    pid = executor.submit(os.getpid).result(30)
    os.kill(pid, signal.SIGSTOP)
    future = executor.submit(len, bytes(50_000_000))
    os.kill(pid, signal.SIGKILL)
    assert future.result(30) == 50_000_000  # by another worker, for it had not begun


def test_what_a_dead_worker_leaves_behind_goes_with_it(make, tmp_path, until):
    executor = make(1)
    with pytest.raises(WorkerDied) as info:
        executor.submit(calls.die_with_an_orphan, tmp_path).result(30)

    def members() -> list[psutil.Process]:
        def of_it(process: psutil.Process) -> bool:
            try:
                return os.getsid(process.pid) == info.value.pid and process.status() != psutil.STATUS_ZOMBIE
            except (ProcessLookupError, psutil.Error):
                return False

        return [process for process in psutil.process_iter() if of_it(process)]

    until(lambda: not members())


def test_where_a_crash_was_is_told(make, capfd):
    import ctypes

    with pytest.raises(WorkerDied, match="crashed") as info:
        make(1).submit(ctypes.string_at, 0).result(30)
    assert "Segmentation fault" in info.value.stderr
    assert "string_at" in info.value.stderr
    assert "Segmentation fault" not in capfd.readouterr().err


# The reusable pool


@pytest.fixture
def reusable():
    """The pool of the program, which is closed after the test."""
    yield
    loky.get_reusable_executor(reuse=True).shutdown(wait=True, kill_workers=True)


def test_the_reusable_pool_is_that_of_the_program_and_stays_open(reusable):
    from amltk_loky.executor import LokyExecutor

    first = loky.get_reusable_executor(max_workers=1).submit(os.getpid).result(30)
    for _ in range(2):
        with LokyExecutor(1, reusable=True) as executor:
            assert executor.submit(os.getpid).result(30) == first
    assert loky.get_reusable_executor(max_workers=1).submit(os.getpid).result(30) == first


def test_in_the_reusable_pool_a_dead_worker_ends_what_runs_and_the_rest_goes_on(reusable, tmp_path, until):
    from amltk_loky.executor import LokyExecutor

    running, dying = tmp_path / "running", tmp_path / "dying"
    running.mkdir()
    dying.mkdir()
    with LokyExecutor(2, reusable=True) as executor:
        beside = executor.submit(calls.wait_for, tmp_path / "gate", running)
        until(lambda: runs(running))
        dead = executor.submit(calls.die, dying)
        waiting = [executor.submit(os.getpid) for _ in range(4)]
        for future in (beside, dead):
            with pytest.raises(WorkerDied, match="loky's reusable pool") as info:
                future.result(30)
            assert info.value.pid in runs(dying)
        since = {future.result(30) for future in waiting}
    assert len(runs(running)) == len(runs(dying)) == 1
    assert not [pid for pid in since if psutil.pid_exists(pid)]  # those were nobody else's
    fresh = loky.get_reusable_executor(max_workers=1).submit(os.getpid).result(30)
    with LokyExecutor(1, reusable=True) as executor:
        assert executor.submit(os.getpid).result(30) == fresh


def test_a_reusable_pool_whose_idle_workers_were_killed_is_not_used_again(reusable):
    """Although loky itself notices a moment later."""
    from amltk_loky.executor import LokyExecutor

    for _ in range(5):
        with LokyExecutor(1, reusable=True) as executor:
            assert executor.submit(abs, -1).result(30) == 1
            executor.kill_workers()


def test_nobody_waits_for_children_of_calls_in_the_reusable_pool(reusable):
    """When it is closed, or the program ends."""
    from amltk_loky.executor import LokyExecutor

    with LokyExecutor(1, reusable=True) as executor:
        executor.submit(calls.leave_a_child_as_joblib_does).result(30)
    began = time.monotonic()
    loky.get_reusable_executor(reuse=True).shutdown(wait=True)
    assert time.monotonic() - began < calls.PATIENCE / 2


def test_stop_now_ends_what_runs_in_the_reusable_pool(reusable, tmp_path, until):
    from amltk import ExitState, Scheduler

    scheduler = Scheduler.with_loky(1, reusable=True)
    task = scheduler.task(calls.wait_for)
    scheduler.on_start(lambda: task(tmp_path / "gate", tmp_path))

    def look():
        if runs(tmp_path):
            scheduler.stop()
        else:
            scheduler.call_later(0.01, look)

    scheduler.on_start(look)
    assert scheduler.run(wait=False).code is ExitState.Code.STOPPED
    assert task.event_counts["on_cancelled"] == 1
    until(lambda: not psutil.pid_exists(runs(tmp_path)[0]))


def test_it_is_known_when_a_call_began_whose_worker_died(make, tmp_path):
    executor = make(1)
    executor.submit(os.getpid).result(30)
    before = time.time()
    future = executor.submit(calls.die, tmp_path)
    assert isinstance(future.exception(30), WorkerDied)
    execution = future.execution
    assert execution.pid == future.exception().pid
    assert before <= execution.started + 1e-3
    assert execution.started <= execution.ended <= time.time() + 1
    assert execution.host
    assert "\0" not in future.exception().stderr
