"""The process in which a backend is examined: reads its messages, and ends it."""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from queue import Empty, SimpleQueue
from types import TracebackType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from typing import Self

CLEAN_UP = "clean up"
"""The step that ends what a backend's health checks have started."""

INTERPRETER_SECONDS = 60.0
"""Least time limit of the first step, which includes the start of the interpreter: machines may be slow."""

GRACE_SECONDS = 10.0
"""Time for an interrupted process to end what it has started, before it is killed."""


PIPES_CAN_BE_AWAITED = sys.platform != "win32"


class Probe:
    """A process that runs `amltk.doctor.probe`. The end of its `with` block kills it and its whole session."""

    def __init__(self, *arguments: str, sent: str) -> None:
        """Start it, and send the options, which other users must not see in its command line."""
        self._said = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the process
        # -u: the last output of a process survives its death.
        self._process = subprocess.Popen(
            [sys.executable, "-u", "-P", "-m", "amltk.doctor.probe", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._said,
            start_new_session=True,  # so that it can be ended with its child processes
        )
        assert self._process.stdout is not None
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError), self._process.stdin as stdin:
            stdin.write(sent.encode("ascii"))
        self._channel = self._process.stdout
        self._unread = b""
        self._patience = INTERPRETER_SECONDS
        self._chunks: SimpleQueue[bytes] | None = None
        if not PIPES_CAN_BE_AWAITED:
            self._chunks = SimpleQueue()
            threading.Thread(target=self._read, args=(self._chunks,), name="amltk doctor", daemon=True).start()

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
            if hasattr(os, "killpg"):
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(self._process.pid, getattr(signal, "SIGKILL", 9))
            else:  # Windows, where its child processes cannot be found
                self._process.terminate()
            self._channel.close()  # unread: a process outside of the session may hold it open forever
            self._process.wait()
            self._said.close()

    def messages(self, limit: float) -> Iterator[dict[str, Any]]:
        """Yield its messages, in order, including the last.

        Raises:
            TimeoutError: No message arrived within `limit` seconds.
        """
        while True:
            chunk = self._next_chunk(max(limit, self._patience))
            self._patience = 0.0
            *lines, self._unread = (self._unread + chunk).split(b"\n")
            for line in lines:
                message = json.loads(line)
                if "end" in message:
                    return
                yield message
            if not chunk:
                return

    def _next_chunk(self, seconds: float) -> bytes:
        """Return the next bytes of its output; empty at the end.

        Raises:
            TimeoutError: There were none for `seconds`.
        """
        if self._chunks is not None:
            try:
                return self._chunks.get(timeout=seconds)
            except Empty:
                raise TimeoutError from None
        with selectors.DefaultSelector() as selector:
            selector.register(self._channel, selectors.EVENT_READ)
            if not selector.select(seconds):
                raise TimeoutError
        return os.read(self._channel.fileno(), 65536)

    def _read(self, chunks: SimpleQueue[bytes]) -> None:
        """Read in a thread, on systems without time limits for pipes."""
        with contextlib.suppress(OSError, ValueError):  # closed by the end of the probe
            while chunk := os.read(self._channel.fileno(), 65536):
                chunks.put(chunk)
        chunks.put(b"")

    def exit_code(self, limit: float) -> int | None:
        """Return its exit code; None if it does not end within `limit` seconds."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            return self._process.wait(limit)
        return None

    def interrupt(self) -> None:
        """Interrupt it, as Ctrl-C does: it stops, and ends what it has started."""
        try:
            self._process.send_signal(signal.SIGINT)
        except ValueError:  # Windows can't
            self._process.terminate()

    def last_words(self) -> str:
        """Return its last line on stderr that is not blank."""
        if hasattr(os, "pread"):
            output = os.pread(self._said.fileno(), os.fstat(self._said.fileno()).st_size, 0)  # keeps the write position
        else:
            self._said.seek(0)
            output = self._said.read()
        lines = output.decode(errors="replace").split("\n")
        return next((line.strip() for line in reversed(lines) if line.strip()), "")
