"""Examines a backend and returns a diagnosis: reads its metadata here, and runs its code in a separate process.

So a backend that hangs or crashes is reported like any other fault.
"""

from __future__ import annotations

import contextlib
import pickle
import signal
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from amltk.doctor import process
from amltk.doctor.requirements import compare
from amltk.exceptions import BackendError, UnknownBackendError
from amltk.plugins import plugin_manager
from amltk.plugins.entry_points import BACKENDS, EntryPoint, metadata_of
from amltk.plugins.listing import may_be_misplaced

Status = Literal["ok", "failed", "left out"]


class RefusedOptionsError(ValueError):
    """A backend does not accept the given options."""


@dataclass(frozen=True)
class Check:
    """The outcome of one check.

    Attributes:
        name: "entry point", or "installed", "versions", "load", "start", "call" or "stop"; or, after "load", a
            health check of the backend's own, or "clean up", which ends what the health checks have started.
        status: "ok", "failed", or "left out" with the reason in `detail`.
        detail: The finding, or the failure and its fix.
        seconds: Its duration; None for checks that take no time.
    """

    name: str
    status: Status
    detail: str = ""
    seconds: float | None = None


@dataclass(frozen=True)
class Diagnosis:
    """The checks of a backend, in order, without those that are impossible after a failed one."""

    backend: str
    checks: tuple[Check, ...]

    @property
    def ok(self) -> bool:
        """Whether nothing failed."""
        return all(check.status != "failed" for check in self.checks)


def examine_all(*, run: bool, limit: float) -> list[Diagnosis]:
    """Examine every installed backend that is not disabled, and report entry points in a wrong group; see `examine`."""
    found = [examine(name, run=run, limit=limit) for name in plugin_manager().backend_names()]
    return [*found, *_misplaced(limit)]


def _misplaced(limit: float) -> list[Diagnosis]:
    """Report entry points in wrong groups; a separate process loads them."""
    reasons = dict(may_be_misplaced())
    if reasons:
        with (
            process.Probe("", "misplaced", sent=pickle.dumps({}).hex()) as probe,
            contextlib.suppress(TimeoutError),  # the reasons that are known without loading are reported all the same
        ):
            for message in probe.messages(limit):
                reasons[message["misplaced"]] = message["detail"]
    return [Diagnosis(name, (Check("entry point", "failed", why),)) for name, why in reasons.items() if why]


def examine(name: str, *, run: bool, limit: float, options: Mapping[str, Any] | None = None) -> Diagnosis:
    """Examine a backend.

    Args:
        name: The name of the backend.
        run: Whether to start it, run a call and stop it, and to perform its health checks that start something.
        limit: Seconds until a step counts as failed.
        options: Options of the backend, instead of its defaults.

    Raises:
        UnknownBackendError: There is no backend of that name.
        RefusedOptionsError: It has no such option, or can't use a value.
    """
    entries = plugin_manager().installed(BACKENDS).get(name, ())
    if not entries:
        try:
            plugin_manager().backend(name)
        except UnknownBackendError:
            raise
        except BackendError as error:
            return Diagnosis(name, (Check("installed", "failed", str(error)),))
    checks = [*_installed(entries), *_probed(name, run=run, limit=limit, options=options or {})]
    return Diagnosis(name, tuple(checks))


def _installed(entries: tuple[EntryPoint, ...]) -> Iterator[Check]:
    distributions = [entry.source.distribution for entry in entries if "Name" in metadata_of(entry)]
    if not distributions:
        yield Check("installed", "failed", "its distribution has no metadata; reinstall it")
        return
    yield Check("installed", "ok", " and ".join(f"{each.name} {each.version}" for each in distributions))
    for each in distributions:
        fits, detail = compare(each)
        yield Check("versions", "left out" if fits is None else "ok" if fits else "failed", detail)


def _probed(name: str, *, run: bool, limit: float, options: Mapping[str, Any]) -> list[Check]:
    """Run the steps in a separate process, and return their outcomes."""
    checks: list[Check] = []
    with process.Probe(name, "run" if run else "load", sent=pickle.dumps(dict(options)).hex()) as probe:
        broken = _follow(probe, limit, checks)
        if broken is not None:
            last = probe.last_words()
            ended = [check for check in checks if check.name != broken.name]
            broken = replace(broken, detail=f"{broken.detail}; its last output: {last}") if last else broken
            checks = [*ended, broken, *_cleaned_up(probe, after=broken)]
    return checks


def _follow(probe: process.Probe, limit: float, checks: list[Check]) -> Check | None:
    """Read the messages of a probe: add its checks, and return the check that it cannot report itself, if any.

    Raises:
        UnknownBackendError: The name is not that of a backend.
        RefusedOptionsError: The backend refuses the options.
    """
    step = "load"
    try:
        for message in probe.messages(limit):
            if "unknown" in message:
                raise UnknownBackendError(message["unknown"])
            if "refused" in message:
                raise RefusedOptionsError(message["refused"])
            if "begin" in message:
                step = message["begin"]
            else:
                checks.append(Check(**message))
    except TimeoutError:
        if probe.exit_code(0) is None:
            return Check(step, "failed", f"it did not end within {limit:g} s", limit)
    exit_code = probe.exit_code(limit)
    if exit_code is None:
        detail = f"its process does not end within {limit:g} s: the backend still runs something"
        return Check(step, "failed", detail, limit)
    if exit_code == 0:
        return None
    how = f"signal {signal.Signals(-exit_code).name}" if exit_code < 0 else f"exit code {exit_code}"
    return Check(step, "failed", f"its process ended with {how}")


def _cleaned_up(probe: process.Probe, *, after: Check) -> list[Check]:
    """Interrupt a probe that still runs, and return the outcome of the clean-up, if that happens only now."""
    if probe.exit_code(0) is not None:
        return []
    checks: list[Check] = []
    probe.interrupt()
    broken = _follow(probe, process.GRACE_SECONDS, checks)
    done = [check for check in checks if check.name == process.CLEAN_UP]
    if not done and broken is not None and broken.name == process.CLEAN_UP:
        done = [broken]
    return done if after.name != process.CLEAN_UP else []
