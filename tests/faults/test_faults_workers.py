"""Group A: a worker dies."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import fault_calls as calls
import pytest
from fault_case import PATIENCE, told
from fault_rows import NOT_TRIED

from amltk.exceptions import WorkerDied, WorkerLost
from amltk_retry import Retry


def meets(case, function, *args) -> WorkerDied:
    """Have a call die among others, which have to finish; return what is said of it."""
    task = case.task(function)
    others = case.task(calls.double)

    @case.at_start
    def begin() -> None:
        others(0)
        task(case.folder, *args)
        for n in range(1, 6):
            others(n)

    case.run()
    error = case.error(task)
    assert isinstance(error, WorkerDied)
    assert sorted(case.results(others)) == [0, 2, 4, 6, 8, 10]
    assert error.pid == case.pid()
    assert str(error.pid) in str(error)
    assert function.__name__ in str(error)
    assert "Retry" in str(error)  # what to do about it
    return error


def test_a1_killed(case):
    error = meets(case, calls.die, signal.SIGKILL)
    assert error.signal == signal.SIGKILL
    assert "SIGKILL" in str(error)


def test_a2_crashed(case):
    error = meets(case, calls.crash)
    assert error.signal == signal.SIGSEGV
    assert "SIGSEGV" in str(error)
    assert "Segmentation fault" in error.stderr
    assert "in crash" in error.stderr


def test_a3_left(case):
    error = meets(case, calls.leave, 7)
    assert error.exit_code == 7
    assert "7" in str(error)


@pytest.fixture
def small_cgroup(until):
    """A group of processes that gets 600 MB, if this machine lets us have one."""
    root = Path("/sys/fs/cgroup")
    old = (root / "memory/memory.limit_in_bytes").exists()
    group = root / ("memory" if old else "") / f"amltk-faults-{os.getpid()}"
    try:
        group.mkdir()
        (group / ("memory.limit_in_bytes" if old else "memory.max")).write_text(str(600 << 20), encoding="ascii")
    except OSError as error:
        if group.exists():
            group.rmdir()
        pytest.skip(f"{NOT_TRIED}: it needs a memory cgroup of its own, {error}")
    yield group
    until(lambda: not (group / "cgroup.procs").read_text(encoding="ascii"))  # loky's tracker sees the end, and ends
    group.rmdir()


def test_a4_memory_ran_out(case, small_cgroup):
    done = case.script(f"""
        import os

        with open({str(small_cgroup / "cgroup.procs")!r}, "w") as group:
            group.write(str(os.getpid()))

        from amltk import Scheduler

        def eat(x):
            hoard = []
            while True:
                hoard.append(b"x" * (10 << 20))

        scheduler = Scheduler.with_backend(NAME, **OPTIONS)
        task, others = scheduler.task(eat), scheduler.task(abs)

        @scheduler.on_start
        def begin():
            task(7)
            for n in range(5):
                others(-n)

        task.on_exception(lambda _, error: print(error.out_of_memory, error))
        scheduler.run(on_exception="ignore")
        print(others.event_counts["on_result"])
        """)
    memory, *_, finished = done.splitlines()
    assert memory.startswith("True eat(7) ended with its worker")
    assert "memory ran out" in memory
    assert finished == "5"


def test_a7_kills_each_worker_that_tries_it(case):
    retry = Retry(10, max_deaths=3, wait=lambda _: 0.0)
    task = case.task(calls.die, plugins=retry)
    others = case.task(calls.double)
    given_up = []
    task.on(Retry.GAVE_UP, lambda _, attempts: given_up.append(attempts))

    @case.at_start
    def begin() -> None:
        task(case.folder, signal.SIGKILL)
        for n in range(6):
            others(n)

    case.run()
    assert isinstance(case.error(task), WorkerDied)
    assert sorted(case.results(others)) == [0, 2, 4, 6, 8, 10]
    ((first, second, third),) = given_up
    assert len({first.pid, second.pid, third.pid}) == 3
    text = told(case.error(task))
    assert "tried 3 times" in text
    assert all(f"attempt {n}" in text and "SIGKILL" in text for n in (1, 2, 3))


def test_a9_stands_still(case):
    case.open(heartbeat_timeout=2)
    began = time.monotonic()
    error = meets(case, calls.stand_still)
    assert isinstance(error, WorkerLost)
    assert 2 <= time.monotonic() - began < 2 + PATIENCE
    assert "2 s" in str(error)


@pytest.mark.parametrize("name", ["SIGTERM", "SIGUSR1"])
def test_a10_asked_to_go(case, name):
    error = meets(case, calls.die, signal.Signals[name])
    assert error.signal == signal.Signals[name]
    assert f"asked to end by {name}" in str(error)
    assert "crash" not in str(error)


def test_a6_initializer(case):
    case.open(initializer=calls.fail_to_initialize)
    task = case.task(calls.double)
    case.at_start(lambda: [task(n) for n in range(5)])
    with pytest.raises(Exception, match="broken") as info:
        case.run(on_exception="raise")
    assert "LookupError: the workers cannot begin" in told(info.value)
    case.open()
