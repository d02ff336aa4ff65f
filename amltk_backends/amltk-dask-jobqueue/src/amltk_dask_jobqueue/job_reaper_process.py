"""A small process that cancels the jobs of a main process that died: `python job_reaper_process.py FOLDER COMMAND...`.

It reads lines: `+17` for a submitted job, `-17` for one that is gone, and absolute paths of further folders. When the
input ends, at the latest with the main process, it cancels the remaining jobs and removes the folders.
"""

import contextlib
import shutil
import signal
import subprocess
import sys


def main(folder: str, *cancel: str) -> None:
    """Read stdin to its end, then cancel the remaining jobs."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
        signal.signal(number, signal.SIG_IGN)
    jobs: dict[str, None] = {}
    folders = [folder] if folder else []
    for line in sys.stdin:
        sign, job = line[0], line[1:].strip()
        if sign == "+":
            jobs[job] = None
        elif sign == "/":
            folders.append(line.rstrip("\n"))
        else:
            jobs.pop(job, None)
    if jobs:
        with contextlib.suppress(OSError, subprocess.SubprocessError):
            subprocess.run([*cancel, *jobs], check=False, capture_output=True, timeout=60)
    for each in folders:
        shutil.rmtree(each, ignore_errors=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
