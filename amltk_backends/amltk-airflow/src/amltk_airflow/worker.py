"""The task of the DAG: it runs one call in a process of its own, and reports the outcome.

    task of Airflow                                            its child
        conf: which call, signed        ── refused unless the signature is right
        writes `begun`                  ── refused if that exists: a call runs at most once
        looks at the lease              ── refused if the main process is gone, or has stopped the call
        reads the call, checks the digest ──────────────────>  unpickles it, runs it
        looks at the lease again        ── "go" ───────────>  (its interpreter has started meanwhile)
        every half second: the lease    ── if it is over, or stopped: SIGTERM, after two seconds SIGKILL
        writes `outcome`, signed        <──────────────────── result or exception, pickled

The task itself unpickles nothing. It has the key; its child does not.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from pathlib import Path
from typing import IO, Any

from amltk.preparation import child_path
from amltk.remote import read_outcome
from amltk.remote.process_tree import GRACE, end_process_trees
from amltk.remote.worker_exit import OomKills, describe_exit
from amltk_airflow import _messages
from amltk_airflow._messages import LEASE, Begun, Order, Outcome
from amltk_airflow._signing import KEY, KEY_FILE, Key, SignatureError, digest, read_key
from amltk_airflow._store import Store

WATCH_SECONDS = 0.5
"""Seconds between looks at the lease."""

_STDERR_BYTES = 4096
_CHILD = sys.executable, "-P", "-m", "amltk_airflow._child"


class CallFailedError(Exception):
    """The task must fail: the call raised, died, was ended or did not begin. The main process has the details."""


class Task:
    """A task of Airflow that runs one call."""

    def __init__(self, conf: dict[str, Any], run_id: str) -> None:
        """Check the conf of its run.

        Args:
            conf: The run's conf.
            run_id: The run's id, which the signature covers.

        Raises:
            CallFailedError: The conf is not signed with the key.
        """
        try:
            self._key = read_key()
            self._order = Order.checked(conf, self._key, run_id)
        except TypeError as error:
            msg = f"This DAG is for calls of amltk, and the conf of this run is not a call: {error}"
            raise CallFailedError(msg) from error
        except (ValueError, SignatureError) as error:
            msg = f"The call is refused, and nothing of it was unpickled: {error}"
            raise CallFailedError(msg) from error
        self._run_id = run_id
        self._store = Store(self._order.folder)
        self._lease = _Lease(self._store, self._key, self._order)
        self._asked = self._reason = ""

    def kill(self) -> None:
        """End the call, as Airflow requests; to be called in a signal handler."""
        self._asked = "Airflow has ended its task"

    def run(self) -> None:
        """Run the call, and report its outcome.

        Raises:
            CallFailedError: The call has no result.
        """
        begun = f"{self._order.call}.begun"
        if self._store.read(begun) is not None:
            msg = "The call is refused: it has begun before, and a call runs at most once."
            raise CallFailedError(msg)
        self._tell(begun, "begun", Begun.here())
        # From here on, either the main process notices that the call has begun, or this task notices that it must not.
        if reason := self._lease.over(first=True):
            self._store.remove(begun)
            msg = f"The call is refused: {reason}."
            raise CallFailedError(msg)
        data = self._store.read(f"{self._order.call}.call")
        if data is None:
            self._store.remove(begun)
            msg = "The call is refused: it is not in the store any more, so it was cancelled."
            raise CallFailedError(msg)
        outcome, answer = self._refusal(data), b""
        if outcome is None:
            outcome, answer = self._make(data)
        self._tell(f"{self._order.call}.outcome", "outcome", outcome, answer)
        if self._lease.orphaned or self._store.read(LEASE) is None:  # no other process will do it
            self._store.remove_all()
        if outcome.kind != _messages.RESULT:
            raise CallFailedError(outcome.text)

    def _tell(self, name: str, what: str, message: Begun | Outcome, data: bytes = b"") -> None:
        sealed = _messages.write(self._key, (what, self._run_id), message, data)
        with contextlib.suppress(FileNotFoundError):  # the session is over, and nobody reads it
            self._store.write(name, sealed)

    def _refusal(self, data: bytes) -> Outcome | None:
        here, there = _messages.versions(), self._order.versions
        me = Begun.here()
        if differs := [name for name in {**there, **here} if here.get(name) != there.get(name)]:
            table = "; ".join(
                f"{name}: there {there.get(name, 'none')}, here {here.get(name, 'none')}" for name in differs
            )
            text = f"the worker, {me}, does not match the main process. Seen from the worker: {table}."
            return Outcome(_messages.MISFIT, me.pid, me.host, text=text)
        if digest(data) != self._order.digest:
            text = f"the object in the store is not the submitted call, so {me} has not unpickled it."
            return Outcome(_messages.REFUSED, me.pid, me.host, text=text)
        return None

    def _make(self, data: bytes) -> tuple[Outcome, bytes]:
        memory = OomKills()
        with tempfile.TemporaryDirectory(prefix="amltk-airflow-") as folder:
            call, outcome = Path(folder, "call"), Path(folder, "outcome")
            call.write_bytes(data)
            with self._start(call, outcome) as child:
                began = time.monotonic()
                stderr = _Tail(child.stderr)
                reason = self._wait(child, outcome)
                seconds = time.monotonic() - began
                _signal_group(child, signal.SIGKILL)  # processes that the call has started and left
                stderr_tail = stderr.text()
            answer = outcome.read_bytes() if outcome.exists() else b""
        ran: dict[str, Any] = {"pid": child.pid, "host": Begun.here().host, "stderr": stderr_tail, "seconds": seconds}
        if reason:
            return Outcome(_messages.STOPPED, **ran, exit_code=child.returncode, text=reason), b""
        if answer:
            kind = _messages.RESULT if read_outcome(answer).returned else _messages.ERROR
            return Outcome(kind, **ran, text="the call raised; the main process has its exception"), answer
        lack = memory.explain(child.returncode)
        how = f"process {child.pid} {describe_exit(child.returncode, lack)}"
        return Outcome(_messages.DIED, **ran, exit_code=child.returncode, out_of_memory=lack, text=how), b""

    def _start(self, call: Path, outcome: Path) -> subprocess.Popen[bytes]:
        """Start a child, and let it begin if the call is not cancelled."""
        path = call.with_name("path")
        path.write_text(json.dumps(child_path()), encoding="utf-8")
        ready, tell_ready = os.pipe()
        try:
            child = subprocess.Popen(
                [*_CHILD, call, outcome, str(tell_ready), path],
                stdin=subprocess.PIPE,
                stderr=subprocess.PIPE,
                pass_fds=(tell_ready,),
                start_new_session=True,
                env={name: value for name, value in os.environ.items() if name not in {KEY, KEY_FILE}},
            )
        finally:
            os.close(tell_ready)
        assert child.stdin is not None
        with open(ready, "rb", buffering=0) as ready_pipe:  # noqa: PTH123 - it is a descriptor
            if ready_pipe.read(1):
                self._reason = self._asked or self._lease.over()
                if not self._reason:
                    os.write(child.stdin.fileno(), b"g")
        return child

    def _wait(self, child: subprocess.Popen[bytes], outcome: Path) -> str:
        """Wait for the end of the child, or end it; return why it was ended, or ""."""
        while not self._reason:
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(WATCH_SECONDS)
                return ""
            if outcome.exists():  # for example, a thread of the call keeps the process alive
                with contextlib.suppress(subprocess.TimeoutExpired):
                    child.wait(GRACE)
                _signal_group(child, signal.SIGKILL)
                child.wait()
                return ""
            self._reason = self._asked or self._lease.over()
        end_process_trees([child.pid])
        child.wait()
        return self._reason


class _Lease:
    """Whether the main process is alive, and has not stopped the call.

    Attributes:
        orphaned: Whether the main process was found to be gone.
    """

    def __init__(self, store: Store, key: Key, order: Order) -> None:
        self.orphaned = False
        self._store = store
        self._key = key
        self._order = order
        self._last: bytes | None = b""
        self._beat = order.beat - 1
        self._at: float | None = None
        self._changed = time.monotonic()

    def over(self, *, first: bool = False) -> str:
        """Return why the call must not go on; "" if it may.

        Args:
            first: Whether nothing is known yet of the main process, which may be gone for long.
        """
        seconds = self._order.lease
        try:
            sealed = self._store.read(LEASE)
        except OSError:  # the store does not answer, which counts as no sign of life
            sealed = self._last
        if sealed is None:
            return "the main process has ended its run"
        if sealed != self._last:
            try:
                content, _ = _messages.read(self._key, (LEASE, self._order.folder), sealed)
            except SignatureError as error:
                return f"of the lease, {error}"
            if content["over"] or self._order.call in content["stopped"]:
                return "the main process has stopped it"
            self._last = sealed
            if content["beat"] > self._beat:  # an old lease that was written again is no sign of life
                self._beat, self._at, self._changed = content["beat"], content["at"], time.monotonic()
        if first and (self._at is None or abs(time.time() - self._at) > seconds):  # or one of the clocks is wrong
            return self._wait_for_a_sign()
        if time.monotonic() - self._changed > seconds:
            self.orphaned = True
            return f"the main process gave no sign of life for {seconds:g} s"
        return ""

    def _wait_for_a_sign(self) -> str:
        seen = self._beat
        while not (reason := self.over()) and self._beat == seen:
            time.sleep(WATCH_SECONDS)
        if self.orphaned:
            self._store.remove_all()
        return reason


class _Tail:
    """Passes a process's stderr on, and keeps its end."""

    def __init__(self, stream: IO[bytes] | None) -> None:
        assert stream is not None
        self._stream = stream
        self._kept: deque[bytes] = deque()
        self._thread = threading.Thread(target=self._read, name="amltk-airflow: stderr", daemon=True)
        self._thread.start()

    def _read(self) -> None:
        size = 0
        with contextlib.suppress(OSError, ValueError):
            while chunk := os.read(self._stream.fileno(), 65536):
                os.write(2, chunk)
                self._kept.append(chunk)
                size += len(chunk)
                while size - len(self._kept[0]) > _STDERR_BYTES:
                    size -= len(self._kept.popleft())

    def text(self) -> str:
        """Return the end of its stderr."""
        self._thread.join(1.0)  # a process that has left its session may hold it open forever
        return b"".join(list(self._kept))[-_STDERR_BYTES:].decode(errors="replace").strip()


def _signal_group(child: subprocess.Popen[bytes], number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, number)
