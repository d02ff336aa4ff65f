"""The program that `amltk doctor` runs in a separate process: `python -m amltk.doctor.probe NAME run|load`.

With `misplaced` instead of `run`, and no name, it reports entry points in wrong groups.

It reads pickled options, in hexadecimal, from stdin. It reports each step and its outcome as a JSON object on a line of
stdout; all other output goes to stderr. SIGINT makes it stop, and end what it has started.
"""

from __future__ import annotations

import contextlib
import inspect
import json
import logging
import operator
import os
import pickle
import signal
import sys
import time
from collections.abc import Generator, Iterable, Mapping
from typing import IO, Any

from amltk import Scheduler
from amltk.backend import Backend, HealthCheck, overrides
from amltk.checks import signature_of
from amltk.doctor.process import CLEAN_UP
from amltk.exceptions import BackendError, UnknownBackendError
from amltk.plugins import plugin_manager
from amltk.plugins.entry_points import COMMANDS, KINDS
from amltk.plugins.listing import list_misplaced
from amltk.scheduling.executor_source import from_backend

LISTING = "health checks"
OURS = ("installed", "versions", "load", LISTING, CLEAN_UP, "start", "call", "stop")


class Steps:
    """Reports the steps, one at a time."""

    def __init__(self, channel: IO[str]) -> None:
        self._channel = channel
        self._name: str | None = None
        self._begun = 0.0

    def say(self, **message: Any) -> None:
        """Send a message."""
        self._channel.write(json.dumps(message) + "\n")
        self._channel.flush()

    def begin(self, name: str) -> None:
        """Begin a step."""
        self.say(begin=name)
        self._name, self._begun = name, time.perf_counter()

    def end(self, status: str = "ok", detail: str = "") -> None:
        """End the step that has begun, if it has not ended."""
        if self._name is not None:
            self.say(name=self._name, status=status, detail=detail, seconds=time.perf_counter() - self._begun)
            self._name = None

    def fail(self, error: BaseException) -> None:
        """End the step with an error."""
        self.end("failed", " ".join(f"{type(error).__name__}: {error}".split()))


def load(name: str, steps: Steps) -> type[Backend] | None:
    """Load a backend's plugin."""
    steps.begin("load")
    try:
        backend = plugin_manager().backend(name)
    except UnknownBackendError as error:
        steps.say(unknown=str(error))
    except BackendError as error:
        steps.end("failed", str(error))
    else:
        steps.end("ok", backend.summary)
        return backend
    return None


def accept(backend: type[Backend], options: Mapping[str, Any], steps: Steps) -> bool:
    """Return whether a backend accepts the options, and needs no others."""
    steps.begin(LISTING if overrides(backend, "health_checks") else "start")
    parameters = signature_of(backend).parameters
    missing = [name for name in _required(parameters) if name not in options]
    if missing and options.keys() <= parameters.keys():
        options_needed = " ".join(f"--option {name}=VALUE" for name in [*options, *missing])
        missing_options = f"with_{backend.name}() has no default for: {', '.join(missing)}"
        steps.end("left out", f"{missing_options}; run: amltk doctor {backend.name} {options_needed}")
        return False
    try:
        from_backend(backend, (), options)
    except Exception as error:
        if options and isinstance(error, TypeError | ValueError):
            steps.say(refused=str(error))
        else:
            steps.fail(error)
        return False
    return True


def perform(backend: type[Backend], options: Mapping[str, Any], steps: Steps, *, run: bool) -> bool:
    """Perform a backend's own health checks up to the first failure; return whether all succeeded."""
    if not overrides(backend, "health_checks"):
        return True
    steps.begin(LISTING)
    try:
        with contextlib.closing(_checks_of(backend, options)) as checks:
            return _perform_all(checks, steps, run=run)
    except Exception as error:
        steps.fail(error)
        return False
    finally:
        steps.end()  # ends the clean-up, also after an interruption


def _checks_of(backend: type[Backend], options: Mapping[str, Any]) -> Generator[HealthCheck, None, None]:
    yield from backend(**options).health_checks()  # if that is a generator, it is closed with this one


def _perform_all(checks: Iterable[HealthCheck], steps: Steps, *, run: bool) -> bool:
    names = set(OURS)
    for each in checks:
        if not isinstance(each, HealthCheck) or each.name in names:
            steps.begin(LISTING)
            msg = f"health_checks() yielded {each!r}; each must be a HealthCheck, with a name that no other step has"
            raise TypeError(msg)
        names.add(each.name)
        steps.begin(each.name)
        try:
            if run or not each.runs:
                steps.end("ok", " ".join(str(each.check()).split()))
            else:
                steps.end("left out", "it would start something")
        except Exception as error:
            steps.fail(error)
            return False
        finally:
            steps.begin(CLEAN_UP)  # unless another check follows
    return True


def start(backend: type[Backend], options: Mapping[str, Any], steps: Steps) -> Scheduler | None:
    """Make a scheduler with a backend; its run completes the step."""
    steps.begin("start")
    try:
        return Scheduler.with_backend(backend.name, **options)
    except Exception as error:
        steps.fail(error)
        return None


def run(scheduler: Scheduler, steps: Steps) -> None:
    """Start the executor, run one call in it, and stop it."""
    task = scheduler.task(operator.mul)

    @scheduler.on_start
    def call() -> None:
        steps.end("ok", scheduler.executor_label)
        steps.begin("call")
        try:
            task(6, 7)
        except Exception as error:
            steps.fail(error)
            steps.begin("stop")

    @task.on_result
    def returned(_: object, result: object) -> None:
        steps.end("ok" if result == 42 else "failed", f"6 * 7 gave {result!r}")
        steps.begin("stop")

    @task.on_exception
    def raised(_: object, error: BaseException) -> None:
        steps.fail(error)
        steps.begin("stop")

    @task.on_cancelled
    def cancelled(_: object) -> None:
        steps.end("failed", "the backend cancelled the call")
        steps.begin("stop")

    complaints = _Complaints()
    scheduler.on_finishing(lambda: logging.getLogger("amltk").addHandler(complaints))
    try:
        scheduler.run(on_exception="ignore")
    except Exception as error:
        steps.fail(error)
    if complaints.texts:
        steps.end("failed", " ".join("; ".join(complaints.texts).split()))
    else:
        steps.end()


class _Complaints(logging.Handler):
    """Collects the warnings of a run whose executor cannot be closed, which are logged and not raised."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else None
        self.texts.append(record.getMessage() + (f" {type(error).__name__}: {error}" if error is not None else ""))


def _required(parameters: Mapping[str, inspect.Parameter]) -> list[str]:
    kinds = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return [name for name, each in parameters.items() if each.default is each.empty and each.kind not in kinds]


def examine(name: str, steps: Steps, options: Mapping[str, Any], *, run_it: bool) -> None:
    """Perform the steps up to the first failure."""
    backend = load(name, steps)
    if backend is None or not (run_it or options or overrides(backend, "health_checks")):
        return
    if not accept(backend, options, steps) or not perform(backend, options, steps, run=run_it) or not run_it:
        return
    scheduler = start(backend, options, steps)
    if scheduler is not None:
        run(scheduler, steps)


def main(name: str, what: str, options: str) -> None:
    """Examine a backend, and report on the original stdout."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # shells let background processes ignore SIGINT
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as channel:
        os.dup2(2, 1)
        steps = Steps(channel)
        try:
            if what == "misplaced":
                for row in list_misplaced(*KINDS.keys() - {COMMANDS}):
                    steps.say(misplaced=row.name, detail=row.reason)
            else:
                examine(name, steps, pickle.loads(bytes.fromhex(options)), run_it=what == "run")
        except KeyboardInterrupt:
            sys.exit(128 + signal.SIGINT)
        steps.say(end=True)


if __name__ == "__main__":
    name, what = sys.argv[1:]
    main(name, what, sys.stdin.read())  # other users can see the command line
