"""The main process's side of the guardian, and the folder of the jobs' output."""

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

from amltk_dask_jobqueue import guardian

GUARDIAN_SECONDS = 3.0
"""How long the end waits for the guardian, which cancels what is left."""


class Guard:
    """Has jobs cancelled if this process dies, and keeps the folder for what they write.

    Attributes:
        folder: Where the jobs write.
        private: A folder of this run that only its user can read, and jobs see. It is removed at the end.
    """

    def __init__(self, cancel: str, folder: Path | None, prefix: str) -> None:
        """Start the guardian.

        Args:
            cancel: The command that cancels jobs.
            folder: Where the jobs write; by default the private one, in the current directory.
            prefix: Of the name of the private one.
        """
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
        own = tempfile.mkdtemp(prefix=prefix, dir=folder or _writable())
        self.private = Path(own)
        self.folder = folder or self.private
        self._folders = [own]
        self._lock = threading.Lock()
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", guardian.__file__, own, *shlex.split(cancel)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C, and a terminal that is closed, are the main process's business
            bufsize=0,
        )

    def add(self, job: str) -> bool:
        """Have a job cancelled if this process dies; return whether the guardian is there to do so."""
        return self._write(f"+{job}\n")

    def remove(self, job: str) -> None:
        """Leave a job alone: it is gone."""
        self._write(f"-{job}\n")

    def scratch(self, prefix: str) -> str:
        """Return a new folder on this machine, which is removed at the end, even if this process dies."""
        folder = Path(tempfile.mkdtemp(prefix=prefix)).absolute()
        self._folders.append(str(folder))
        self._write(f"{folder}\n")
        return str(folder)

    def close(self) -> None:
        """End the guardian; it cancels what has not been removed."""
        assert self._process.stdin is not None
        with self._lock, contextlib.suppress(OSError):
            self._process.stdin.close()
        try:
            self._process.wait(GUARDIAN_SECONDS)
        except subprocess.TimeoutExpired:  # its command takes long; it removes the folders after that
            threading.Thread(target=self._process.wait, name="amltk: guardian", daemon=True).start()
            return
        for folder in self._folders:  # if somebody has killed it
            shutil.rmtree(folder, ignore_errors=True)

    def _write(self, line: str) -> bool:
        assert self._process.stdin is not None
        try:
            with self._lock:
                self._process.stdin.write(line.encode())
        except (OSError, ValueError):  # somebody has killed it, or it is closed
            return False
        return True


def _writable() -> Path:
    """Return the current directory, in which jobs start, or home, if nothing can be written there."""
    here = Path.cwd()
    return here if os.access(here, os.W_OK) else Path.home()
