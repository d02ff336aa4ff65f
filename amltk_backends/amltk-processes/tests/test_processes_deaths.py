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
from amltk_processes._errors import how_it_died
from amltk_processes._memory import MemoryKills


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


@pytest.mark.parametrize(
    ("code", "memory", "text"),
    [
        (-11, None, "crashed (SIGSEGV: Segmentation fault)"),
        (-6, None, "crashed (SIGABRT: Aborted)"),
        (-9, None, "perhaps because memory ran out"),
        (-9, True, "because memory ran out: have fewer workers"),
        (-9, False, "somebody sent: the kernel reports no lack of memory"),
        (-13, None, "was killed by SIGPIPE"),
        (-40, None, "was killed by signal 40"),
        (5, None, "exited with code 5"),
        (None, None, "is gone"),
    ],
)
def test_words(code: int | None, memory: bool | None, text: str) -> None:
    assert text in how_it_died(code, memory)


def test_the_kernels_count_tells_whether_it_was_memory(tmp_path: Path, monkeypatch) -> None:
    """With a count of our own instead of the kernel's, in the three places where it has one."""
    for before, after in [
        ("low 0\noom 3\noom_kill 3\noom_group_kill 0\n", "low 0\noom 4\noom_kill 4\noom_group_kill 0\n"),
        ("oom_kill_disable 0\nunder_oom 0\noom_kill 0\n", "oom_kill_disable 0\nunder_oom 0\noom_kill 1\n"),
        ("drop_slab 0\noom_kill 12\nnuma_hit 1\n", "drop_slab 0\noom_kill 13\nnuma_hit 1\n"),
    ]:
        now = [100.0]
        monkeypatch.setattr("time.monotonic", lambda: now[0])  # noqa: B023 - called before the next
        source = tmp_path / "count"
        source.write_text(before)
        kills = MemoryKills(str(tmp_path / "missing"), str(source))
        assert kills.lately() is False
        source.write_text(after)
        assert kills.lately() is True
        assert kills.lately() is True  # several died of it
        now[0] += 1.5
        assert kills.lately() is False
        source.unlink()
        assert kills.lately() is None


def test_where_the_kernel_does_not_count_nobody_knows(tmp_path: Path) -> None:
    assert MemoryKills(str(tmp_path / "missing")).lately() is None
    (tmp_path / "old").write_text("oom_kill_disable 0\nunder_oom 0\n")
    assert MemoryKills(str(tmp_path / "old")).lately() is None


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
