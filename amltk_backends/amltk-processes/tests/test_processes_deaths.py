"""Deaths are called what they are: crashes, requests to end, and lack of memory."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from amltk.exceptions import WorkerDied
from amltk_processes import ProcessPoolExecutor


@pytest.mark.parametrize("name", ["SIGTERM", "SIGUSR1", "SIGUSR2", "SIGHUP"])
def test_who_was_asked_to_end_is_said_to_have_been(name: str) -> None:
    number = signal.Signals[name]
    with ProcessPoolExecutor(1) as executor:
        error = executor.submit(lambda: os.kill(os.getpid(), number)).exception()
    assert isinstance(error, WorkerDied)
    assert error.signal is number
    assert f"was asked to end by {name}, as batch systems do" in str(error)
    assert "crashed" not in str(error)


def test_cpu_time_that_is_used_up_is_called_that() -> None:
    def compute() -> None:
        import resource

        resource.setrlimit(resource.RLIMIT_CPU, (1, 100))
        while True:
            pass

    with ProcessPoolExecutor(1) as executor:
        error = executor.submit(compute).exception()
    assert isinstance(error, WorkerDied)
    assert error.signal is signal.SIGXCPU
    assert "limit of CPU time" in str(error)


@pytest.fixture
def small_cgroup() -> Iterator[Path]:
    """A memory cgroup of 300 MB, if this machine lets us have one."""
    v1 = Path("/sys/fs/cgroup/memory/memory.limit_in_bytes").exists()
    group = Path("/sys/fs/cgroup", *(["memory"] if v1 else []), f"amltk-test-{os.getpid()}")
    try:
        group.mkdir()
        (group / ("memory.limit_in_bytes" if v1 else "memory.max")).write_text(str(300 << 20))
    except OSError as error:
        if group.exists():
            group.rmdir()
        pytest.skip(f"needs a memory cgroup of its own: {error}")
    yield group
    group.rmdir()


def test_a_worker_that_the_kernel_killed_for_memory_says_so(small_cgroup: Path) -> None:
    script = f"""
import os
open({str(small_cgroup / "cgroup.procs")!r}, "w").write(str(os.getpid()))
from amltk_processes import ProcessPoolExecutor

def eat():
    hoard = []
    while True:
        hoard.append(b"x" * (10 << 20))

with ProcessPoolExecutor(2) as executor:
    for call in (eat, lambda: os.kill(os.getpid(), 9)):
        error = executor.submit(call).exception()
        print(error.out_of_memory, error)
        import time; time.sleep(1.1)
    print(executor.submit(pow, 2, 3).result())
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=50, check=True)
    memory, by_hand, after = done.stdout.splitlines()
    assert memory.startswith("True eat() ended")
    assert "SIGKILL because memory ran out" in memory
    assert by_hand.startswith("False <lambda>()")
    assert "somebody sent" in by_hand
    assert after == "8"
