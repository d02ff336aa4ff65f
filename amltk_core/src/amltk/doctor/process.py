"""The process in which a backend is examined: what it says, and how it is ended."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from types import TracebackType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from typing import Self

CLEAN_UP = "clean up"
"""The step that ends what a backend's examinations have started."""

INTERPRETER_SECONDS = 60.0
"""So much time has a process at least until it takes the first step: a slow machine is no fault of a backend."""

GRACE_SECONDS = 10.0
"""So much time has a process that is interrupted to end what it has started, before it is killed."""


class Probe:
    """A process that runs `amltk.doctor.probe`. At the end of its `with` block it is gone, with all of its session."""

    def __init__(self, *arguments: str) -> None:
        self._said = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the process
        # -u: what a process said last is not lost when it dies.
        self._process = subprocess.Popen(
            [sys.executable, "-u", "-P", "-m", "amltk.doctor.probe", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=self._said,
            start_new_session=True,  # so that it can be ended with what it started
        )
        assert self._process.stdout is not None
        self._channel = self._process.stdout
        self._unread = b""
        self._patience = INTERPRETER_SECONDS

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            if kind is not None:
                self.interrupt()
                self.exit_code(GRACE_SECONDS)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._channel.close()  # not read to its end: what left the session may hold it open for ever
            self._process.wait()
            self._said.close()

    def messages(self, limit: float) -> Iterator[dict[str, Any]]:
        """Give what it says, until it has said all.

        Raises:
            TimeoutError: It said nothing for `limit` seconds.
        """
        poll = select.poll()  # `select` knows no descriptor above 1023
        poll.register(self._channel, select.POLLIN)
        while True:
            if not poll.poll(1000 * max(limit, self._patience)):
                raise TimeoutError
            self._patience = 0.0
            chunk = os.read(self._channel.fileno(), 65536)
            *lines, self._unread = (self._unread + chunk).split(b"\n")
            for line in lines:
                message = json.loads(line)
                if "end" in message:
                    return
                yield message
            if not chunk:
                return

    def exit_code(self, limit: float) -> int | None:
        """Return its exit code, or None if it does not end within `limit` seconds."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            return self._process.wait(limit)
        return None

    def interrupt(self) -> None:
        """Interrupt it, as Ctrl-C does: it stops what it does, and ends what it has started."""
        self._process.send_signal(signal.SIGINT)

    def last_words(self) -> str:
        """Return the last line that it wrote and that was for people."""
        said = os.pread(self._said.fileno(), os.fstat(self._said.fileno()).st_size, 0)  # where it writes is left alone
        lines = said.decode(errors="replace").split("\n")
        return next((line.strip() for line in reversed(lines) if line.strip()), "")
