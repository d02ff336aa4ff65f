"""Folders that Python uses as environments: each has amltk and any number of other distributions."""

from __future__ import annotations

import functools
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pluggy

import amltk
import amltk_threads

_OURS = {
    "amltk-core": (amltk, ""),
    "amltk-threads": (amltk_threads, "[amltk.backends]\nthreads = amltk_threads.plugin:Threads\n"),
    "pluggy": (pluggy, ""),
}


@functools.cache
def environment(distributions: int, backends: int) -> tempfile.TemporaryDirectory[str]:
    """Return a folder with this many installed distributions, of which this many bring a backend."""
    folder = tempfile.TemporaryDirectory(prefix="amltk-benchmark-")
    for name, (package, entry_points) in _OURS.items():
        assert package.__file__ is not None
        source = Path(package.__file__).parent
        (Path(folder.name) / source.name).symlink_to(source)
        _install(Path(folder.name), name, entry_points)
    for number in range(len(_OURS), distributions):
        name = f"somebodys-{number}"
        script = f"[console_scripts]\n{name} = somebodys_{number}:main\n" * (number % 3 == 0)
        backend = f"[amltk.backends]\nbackend_{number} = somebodys_{number}.plugin\n"
        _install(Path(folder.name), name, script + backend * (number < len(_OURS) + backends - 1))
    return folder


def _install(folder: Path, name: str, entry_points: str) -> None:
    info = folder / f"{name.replace('-', '_')}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n", encoding="utf-8")
    if entry_points:
        (info / "entry_points.txt").write_text(entry_points, encoding="utf-8")


def whole_process(code: str, distributions: int, backends: int) -> float:
    """Return the mean duration of a Python process that runs `code` in such an environment only, in seconds."""
    repeats = 5
    environ = {**os.environ, "PYTHONPATH": environment(distributions, backends).name}
    start = time.perf_counter()
    for _ in range(repeats):
        subprocess.run([sys.executable, "-S", "-c", code], env=environ, check=True)
    return (time.perf_counter() - start) / repeats
