"""What `amltk doctor` runs in a process of its own: `python -m amltk.doctor.probe NAME run|load`.

It says what it does and what became of it, a JSON object a line; whatever else is printed goes to stderr.
"""

from __future__ import annotations

import inspect
import json
import logging
import operator
import os
import sys
import time
from collections.abc import Mapping
from typing import IO, Any

from amltk import Scheduler
from amltk.backend import Backend
from amltk.exceptions import BackendError, UnknownBackendError
from amltk.plugins import plugin_manager


class Steps:
    """Reports steps, one at a time."""

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


def load(name: str, steps: Steps) -> Backend | None:
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


def start(backend: Backend, steps: Steps) -> Scheduler | None:
    """Make a scheduler with the default options of a backend, if that can be done; its run completes the step."""
    steps.begin("start")
    if missing := _required(inspect.signature(backend.create).parameters):
        steps.end("left out", f"with_{backend.name}() needs options that only you know: {', '.join(missing)}")
        return None
    try:
        return Scheduler.with_backend(backend.name)
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
    """Keeps what a run has to say of an executor that can't be closed: that is logged, not raised."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else None
        self.texts.append(record.getMessage() + (f" {type(error).__name__}: {error}" if error is not None else ""))


def _required(parameters: Mapping[str, inspect.Parameter]) -> list[str]:
    kinds = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return [name for name, each in parameters.items() if each.default is each.empty and each.kind not in kinds]


def main(name: str, what: str) -> None:
    """Take the steps, and say so on what was stdout."""
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as channel:
        os.dup2(2, 1)
        steps = Steps(channel)
        backend = load(name, steps)
        scheduler = start(backend, steps) if backend is not None and what == "run" else None
        if scheduler is not None:
            run(scheduler, steps)
        steps.say(end=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
