"""Starts the reaper process, and keeps the folders of a run."""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

from amltk_dask_jobqueue import job_reaper_process

REAPER_SECONDS = 3.0
"""Seconds to wait at the end for the reaper, which cancels remaining jobs."""


class JobReaper:
    """Cancels jobs if this process dies, and keeps the folders of the run.

    Attributes:
        folder: The folder for the jobs' output.
        private: A folder of this run, for jobs and readable only by the user. It is removed at the end.
    """

    def __init__(self, cancel: str, folder: Path | None, prefix: str) -> None:
        """Start the reaper.

        Args:
            cancel: The command that cancels jobs.
            folder: The folder for the jobs' output; by default the private one, in the current directory.
            prefix: The prefix of the private folder's name.
        """
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
        own = tempfile.mkdtemp(prefix=prefix, dir=folder or _writable())
        self.private = Path(own)
        self.folder = folder or self.private
        self._folders = [own]
        self._lock = threading.Lock()
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", job_reaper_process.__file__, own, *shlex.split(cancel)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C and a closed terminal must not reach it
            bufsize=0,
        )

    def add(self, job: str) -> bool:
        """Cancel a job if this process dies; return whether the reaper is alive to do so."""
        return self._write(f"+{job}\n")

    def remove(self, job: str) -> None:
        """Do not cancel a job: it is gone."""
        self._write(f"-{job}\n")

    def scratch(self, prefix: str) -> str:
        """Return a new folder on this machine, which is removed at the end, even if this process dies."""
        folder = Path(tempfile.mkdtemp(prefix=prefix)).absolute()
        self._folders.append(str(folder))
        self._write(f"{folder}\n")
        return str(folder)

    def close(self) -> None:
        """End the reaper; it cancels the jobs that were not removed."""
        assert self._process.stdin is not None
        with self._lock, contextlib.suppress(OSError):
            self._process.stdin.close()
        try:
            self._process.wait(REAPER_SECONDS)
        except subprocess.TimeoutExpired:  # its command is slow; it removes the folders later
            threading.Thread(target=self._process.wait, name="amltk: job reaper", daemon=True).start()
            return
        for folder in self._folders:  # in case the reaper was killed
            shutil.rmtree(folder, ignore_errors=True)

    def _write(self, line: str) -> bool:
        assert self._process.stdin is not None
        try:
            with self._lock:
                self._process.stdin.write(line.encode())
        except (OSError, ValueError):  # the reaper was killed, or is closed
            return False
        return True


def _writable() -> Path:
    """Return the current directory, where jobs start; home if it is not writable."""
    here = Path.cwd()
    return here if os.access(here, os.W_OK) else Path.home()
