"""What the main process and a worker say to each other: in the conf of a run, and by objects in the store.

    <store>/amltk-<session>/        of one run of a scheduler; removed at its end
        lease                       main    it lives; which calls are not wanted any more
        <call>.call                 main    function and arguments, pickled
        <call>.begun                worker  which process has taken it up
        <call>.outcome              worker  what came of it; the last that a worker writes

Whatever is read is checked with the key first.
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
    """Return the versions of what has to fit on both sides."""
    found = {"Python": f"{sys.version_info.major}.{sys.version_info.minor}"}
    for name in _LIBRARIES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found


@dataclass(frozen=True)
class Order:
    """The conf of a run: a call by reference.

    Attributes:
        call: Tells the call from every other call of the session.
        folder: The URL of the session's folder.
        digest: Of the pickled call.
        lease: After so many seconds without a sign of life from the main process, the call ends itself.
        versions: Those of the main process.
        beat: The number of the lease when the call was ordered: one with a lower number is an old one.
        signature: Over all of these and the id of the run.
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
            SignatureError: It does not come from who has the key, or is another run's.
            TypeError: It is no order at all.
        """
        order = cls(**conf)
        key.check(str(order.signature), *order._parts(run_id))
        return order

    def _parts(self, run_id: str) -> tuple[str, ...]:
        about = json.dumps(self.versions, sort_keys=True)
        return "order", run_id, self.call, self.folder, self.digest, repr(float(self.lease)), about, repr(self.beat)


@dataclass(frozen=True)
class Begun:
    """Which process has taken up a call: that of Airflow's task, which has a child for the call itself.

    Attributes:
        pid: Its id.
        host: Its machine.
        at: When, in seconds of `time.time()` there.
    """

    pid: int
    host: str
    at: float

    @classmethod
    def here(cls) -> Begun:
        """Return that of this process."""
        return cls(os.getpid(), platform.node(), time.time())

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}"


@dataclass(frozen=True)
class Outcome:
    """What came of a call.

    Attributes:
        kind: RESULT and ERROR come with data; DIED is said of the process that ran it, STOPPED of one that was
            ended, REFUSED of a call that has not begun, MISFIT of a worker that can run none of ours.
        pid: The process that ran it.
        host: Its machine.
        exit_code: Its exit code; negative is the number of a signal.
        out_of_memory: Whether it was killed because memory ran out; None if that can't be known.
        stderr: What it wrote last.
        text: What there is to say.
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
    """Return a message as it lies in the store.

    Args:
        key: Signs it.
        about: What it is, and of which run: it is nothing else.
        message: Is written as JSON.
        data: Follows it.
    """
    fields = message if isinstance(message, dict) else asdict(message)
    return key.seal(json.dumps(fields).encode() + b"\n" + data, *about)


def read(key: Key, about: tuple[str, ...], sealed: bytes) -> tuple[dict[str, Any], bytes]:
    """Return a message's fields, and its data.

    Raises:
        SignatureError: It is not what `write` made with this key and about this.
    """
    fields, _, data = key.unseal(sealed, *about).partition(b"\n")
    return json.loads(fields), data
