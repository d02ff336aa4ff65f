"""Reads the output of jobs."""

from __future__ import annotations

import re
from pathlib import Path

UNREACHABLE = "can't be reached"
"""A part of the output of a job whose worker can't connect to the program."""

_LINES = 30
_BYTES = 16384
_CHATTER = re.compile(r"^\S+ \S+ - distributed\.\S+ - INFO - ")


def tail_of_log(folder: Path, job: str) -> str:
    """Return the end of a job's output, without empty lines; "" if there is none.

    Args:
        folder: The folder for the output of jobs.
        job: The job's id, which is in the names of its files.
    """
    number = re.match(r"\d+", job)
    its_own = re.compile(rf"(?<!\d){re.escape(number[0] if number else job)}(?!\d)")
    lines: list[str] = []
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        if its_own.search(path.name) and path.is_file():
            with path.open("rb") as file:
                file.seek(max(0, path.stat().st_size - _BYTES))
                lines += file.read().decode(errors="replace").splitlines()
    return "\n".join(line for line in lines if line.strip())


def without_chatter(log: str) -> str:
    """Return the last lines of a log without dask's INFO records."""
    return last_lines("\n".join(line for line in log.splitlines() if not _CHATTER.match(line)), _LINES)


def last_lines(log: str, number: int = 10) -> str:
    """Return the last `number` lines of a log."""
    return "\n".join(log.splitlines()[-number:])


def exit_code_in(log: str, pid: int) -> int | None:
    """Return a worker's exit code, negative for a signal, if dask's nanny has logged it; else None."""
    found = re.search(rf"Worker process {pid} (exited with status|was killed by signal) (\d+)", log)
    if found is None:
        return None
    return int(found[2]) if found[1].startswith("exited") else -int(found[2])


def missing_module(log: str) -> str:
    """Return the module of amltk or dask that a job could not import; "" if there is none."""
    found = re.findall(r"No module named '?((?:amltk|cloudpickle|dask|distributed)\w*)", log)
    return found[-1] if found else ""
