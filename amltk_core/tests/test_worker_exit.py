"""What is said of the end of a worker process."""

from __future__ import annotations

from pathlib import Path

import pytest

from amltk.remote.worker_exit import OomKills, describe_exit


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
    assert text in describe_exit(code, memory)


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
        kills = OomKills(str(tmp_path / "missing"), str(source))
        assert kills.recent() is False
        source.write_text(after)
        assert kills.recent() is True
        assert kills.recent() is True  # several died of it
        now[0] += 1.5
        assert kills.recent() is False
        source.unlink()
        assert kills.recent() is None


def test_where_the_kernel_does_not_count_nobody_knows(tmp_path: Path) -> None:
    assert OomKills(str(tmp_path / "missing")).recent() is None
    (tmp_path / "old").write_text("oom_kill_disable 0\nunder_oom 0\n")
    assert OomKills(str(tmp_path / "old")).recent() is None


def test_memory_explains_only_sigkill(tmp_path: Path) -> None:
    source = tmp_path / "count"
    source.write_text("oom_kill 0\n")
    kills = OomKills(str(source))
    assert kills.explain(-9) is False
    source.write_text("oom_kill 1\n")
    assert kills.explain(-9) is True
    assert kills.explain(-11) is False
    assert kills.explain(None) is False
    assert OomKills(str(tmp_path / "none")).explain(-9) is None
