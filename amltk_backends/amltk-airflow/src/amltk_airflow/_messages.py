"""The messages between the main process and a worker: the conf of a run, and objects in the store.

    <store>/amltk-<session>/        of one run of a scheduler; removed at its end
        lease                       main    it is alive; which calls to stop
        <call>.call                 main    function and arguments, pickled
        <call>.begun                worker  the process that has begun the call
        <call>.outcome              worker  result or exception; the last object that a worker writes

Readers check the signature of each message first.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import json
import os
import platform
import sys
import time
from dataclasses import asdict, dataclass
from typing import Any

from amltk_airflow._signing import Key, digest

DAG_ID = "amltk"
TASK_ID = "call"
LEASE = "lease"

RESULT, ERROR, DIED, STOPPED, REFUSED, MISFIT = "result", "error", "died", "stopped", "refused", "misfit"

_LIBRARIES = ("amltk-core", "amltk-airflow", "cloudpickle")


def versions() -> dict[str, str]:
    """Return the versions that must match on both sides."""
    found = {"Python": f"{sys.version_info.major}.{sys.version_info.minor}"}
    for name in _LIBRARIES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found


@dataclass(frozen=True)
class Order:
    """The conf of a run: a call by reference.

    Attributes:
        call: The call's id, unique in the session.
        folder: The URL of the session's folder.
        digest: The digest of the pickled call.
        lease: Seconds without a sign of life from the main process after which the call ends itself.
        versions: The versions of the main process.
        beat: The number of the lease when the call was ordered: a lease with a lower number is an old one.
        signature: Covers all of these and the id of the run.
    """

    call: str
    folder: str
    digest: str
    lease: float
    versions: dict[str, str]
    beat: int = 0
    signature: str = ""

    @classmethod
    def signed(
        cls, key: Key, run_id: str, call: str, folder: str, data: bytes, lease: float, *, beat: int = 0
    ) -> Order:
        """Return the order for a run to make a call."""
        order = cls(call, folder, digest(data), lease, versions(), beat)
        return cls(**{**asdict(order), "signature": key.sign(*order._parts(run_id))})

    @classmethod
    def checked(cls, conf: dict[str, Any], key: Key, run_id: str) -> Order:
        """Return the order of a conf.

        Raises:
            SignatureError: Its signature is not of this key, or of another run.
            TypeError: It is no order.
        """
        order = cls(**conf)
        key.check(str(order.signature), *order._parts(run_id))
        return order

    def _parts(self, run_id: str) -> tuple[str, ...]:
        about = json.dumps(self.versions, sort_keys=True)
        return "order", run_id, self.call, self.folder, self.digest, repr(float(self.lease)), about, repr(self.beat)


@dataclass(frozen=True)
class Begun:
    """The process that has begun a call: the one of Airflow's task, whose child runs the call itself.

    Attributes:
        pid: Its id.
        host: Its machine.
        at: The time, by `time.time()` there.
    """

    pid: int
    host: str
    at: float

    @classmethod
    def here(cls) -> Begun:
        """Return the one of this process."""
        return cls(os.getpid(), platform.node(), time.time())

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}"


@dataclass(frozen=True)
class Outcome:
    """The outcome of a call.

    Attributes:
        kind: RESULT and ERROR have data. DIED: the call's process died. STOPPED: the call was ended. REFUSED: the call
            has not begun. MISFIT: the worker can't run calls of this program.
        pid: The process that ran it.
        host: Its machine.
        exit_code: Its exit code, negative for a signal.
        out_of_memory: Whether it was killed because memory ran out; None if unknown.
        stderr: The end of its output to stderr.
        text: A description.
        seconds: How long the process ran, by the monotonic clock of its machine.
    """

    kind: str
    pid: int | None = None
    host: str = ""
    exit_code: int | None = None
    out_of_memory: bool | None = None
    stderr: str = ""
    text: str = ""
    seconds: float | None = None

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}"


def write(key: Key, about: tuple[str, ...], message: Begun | Outcome | dict[str, Any], data: bytes = b"") -> bytes:
    """Return a message in the form that the store holds.

    Args:
        key: Signs it.
        about: What the message stands for, and its run: the signature is valid for nothing else.
        message: Written as JSON.
        data: Follows it.
    """
    fields = message if isinstance(message, dict) else asdict(message)
    return key.seal(json.dumps(fields).encode() + b"\n" + data, *about)


def read(key: Key, about: tuple[str, ...], sealed: bytes) -> tuple[dict[str, Any], bytes]:
    """Return a message's fields, and its data.

    Raises:
        SignatureError: `write` did not make it with this key and `about`.
    """
    fields, _, data = key.unseal(sealed, *about).partition(b"\n")
    return json.loads(fields), data
