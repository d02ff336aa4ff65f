"""Examines a backend: what is installed of it is read here, what runs of it runs in a process of its own.

So a backend that hangs, or takes its process with it, is reported like any other fault.
"""

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
from dataclasses import dataclass, replace
from importlib.metadata import EntryPoint
from typing import IO, Any, Literal

from amltk.doctor.requirements import compare
from amltk.exceptions import BackendError, UnknownBackendError
from amltk.plugins import plugin_manager

Status = Literal["ok", "failed", "left out"]

INTERPRETER_SECONDS = 60.0
"""So much time has a process at least until it takes the first step: a slow machine is no fault of a backend."""


@dataclass(frozen=True)
class Check:
    """What became of one check.

    Attributes:
        name: "installed", "versions", "load", "start", "call" or "stop".
        status: "ok", "failed", or "left out" with the reason in `detail`.
        detail: What was found; what failed, and what mends it.
        seconds: How long it took; None for what takes no time.
    """

    name: str
    status: Status
    detail: str = ""
    seconds: float | None = None


@dataclass(frozen=True)
class Diagnosis:
    """All checks of a backend, in their order; those that a failed one makes impossible are missing."""

    backend: str
    checks: tuple[Check, ...]

    @property
    def ok(self) -> bool:
        """Whether nothing failed."""
        return all(check.status != "failed" for check in self.checks)


def examine_all(*, run: bool, limit: float) -> list[Diagnosis]:
    """Examine every backend that is installed and not disabled; see `examine`."""
    found = []
    for name in plugin_manager().backend_names():
        with contextlib.suppress(UnknownBackendError):  # a task plugin: not known before it is loaded
            found.append(examine(name, run=run, limit=limit))
    return found


def examine(name: str, *, run: bool, limit: float) -> Diagnosis:
    """Examine a backend.

    Args:
        name: Of the backend.
        run: Whether to start it with its default options, run one call and stop it.
        limit: After how many seconds a step has failed.

    Raises:
        UnknownBackendError: There is no backend of that name.
    """
    entries = plugin_manager().installed().get(name, ())
    if not entries:
        try:
            plugin_manager().backend(name)
        except UnknownBackendError:
            raise
        except BackendError as error:
            return Diagnosis(name, (Check("installed", "failed", str(error)),))
    checks = [*_installed(entries), *_probed(name, run=run, limit=limit)]
    return Diagnosis(name, tuple(checks))


def _installed(entries: tuple[EntryPoint, ...]) -> Iterator[Check]:
    distributions = [entry.dist for entry in entries if entry.dist is not None and "Name" in entry.dist.metadata]
    if not distributions:
        yield Check("installed", "failed", "its distribution has no metadata; install it anew")
        return
    yield Check("installed", "ok", " and ".join(f"{each.name} {each.version}" for each in distributions))
    for each in distributions:
        fits, detail = compare(each)
        yield Check("versions", "left out" if fits is None else "ok" if fits else "failed", detail)


def _probed(name: str, *, run: bool, limit: float) -> list[Check]:
    """Let a process of its own take the steps, and return what became of each."""
    # -u: what a process said last is not lost when it dies.
    command = [sys.executable, "-u", "-P", "-m", "amltk.doctor.probe", name, "run" if run else "load"]
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=said,
            start_new_session=True,  # so that it can be ended with what it started
        )
        checks: list[Check] = []
        assert process.stdout is not None
        try:
            broken = _follow(process, process.stdout.fileno(), limit, checks)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.stdout.close()  # not read to its end: what left the session may hold it open for ever
            process.wait()
        if broken is not None:
            last = _last_line(said)
            ended = [check for check in checks if check.name != broken.name]
            return [*ended, replace(broken, detail=f"{broken.detail}; it said at last: {last}") if last else broken]
    return checks


def _follow(process: subprocess.Popen[bytes], channel: int, limit: float, checks: list[Check]) -> Check | None:
    """Follow a probe, for `limit` seconds a step at most: add its checks, and return the one that it can't report.

    Raises:
        UnknownBackendError: What bears the name is no backend.
    """
    step = "load"
    try:
        for message in _messages(channel, limit):
            if "unknown" in message:
                raise UnknownBackendError(message["unknown"])
            if "begin" in message:
                step = message["begin"]
            else:
                checks.append(Check(**message))
    except TimeoutError:
        if process.poll() is None:
            return Check(step, "failed", f"it did not end within {limit:g} s", limit)
    try:
        exit_code = process.wait(limit)
    except subprocess.TimeoutExpired:
        detail = f"its process does not end within {limit:g} s: something of the backend still runs"
        return Check(step, "failed", detail, limit)
    if exit_code == 0:
        return None
    how = f"signal {signal.Signals(-exit_code).name}" if exit_code < 0 else f"exit code {exit_code}"
    return Check(step, "failed", f"its process ended with {how}")


def _messages(channel: int, limit: float) -> Iterator[dict[str, Any]]:
    """Give what a probe says, until it has said all.

    Raises:
        TimeoutError: It said nothing for `limit` seconds.
    """
    unread = b""
    patience = max(limit, INTERPRETER_SECONDS)
    while True:
        if not select.select([channel], [], [], patience)[0]:
            raise TimeoutError
        patience = limit
        chunk = os.read(channel, 65536)
        *lines, unread = (unread + chunk).split(b"\n")
        for line in lines:
            message = json.loads(line)
            if "end" in message:
                return
            yield message
        if not chunk:
            return


def _last_line(said: IO[bytes]) -> str:
    said.seek(0)
    lines = said.read().decode(errors="replace").split("\n")
    return next((line.strip() for line in reversed(lines) if line.strip()), "")
