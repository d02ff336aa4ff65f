"""Where a run gets its executor from, and what it may do with it."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Executor, ProcessPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from amltk.backend import AcceptsOptions, Backend, OptionName, overrides
from amltk.checks import did_you_mean, signature_of
from amltk.describe import describe_option, describe_value

GRACE_SECONDS = 2.0
"""How long the workers of a user's executor have between SIGTERM and SIGKILL."""

_NEEDS_MAIN_THREAD = frozenset(f"concurrent.futures.{name}" for name in ("thread", "process", "interpreter"))


_TELL = frozenset(
    {
        *("amltk", "loky"),
        *(f"amltk_{name}" for name in ("processes", "loky", "sequential", "dask", "ray", "airflow", "testing")),
    }
)
"""Packages whose executors' futures say `running()` when a worker has begun the call."""


@dataclass(frozen=True)
class ExecutorSource:
    """Opens an executor for a run.

    Attributes:
        label: What it is, for people: `with_processes(max_workers=2)`.
        open: Gives the executor.
        owned: Whether the run closes it; an executor that the user passed in stays the user's.
        accepts_options: Which options of a call it honours, by `submit_call`.
        kill: Ends what runs in it; None where that can't be done.
        needs_main_thread: Whether it takes no calls when the main thread of the program has ended.
        tells_running: Whether its futures are known to say `running()` once a worker has begun their call.
    """

    label: str
    open: Callable[[], Executor]
    owned: bool
    accepts_options: tuple[OptionName, ...]
    kill: Callable[[Executor], None] | None = field(default=None)
    needs_main_thread: bool = False
    tells_running: bool = True


def from_backend(cls: type[Backend], args: tuple[Any, ...], options: Mapping[str, Any]) -> ExecutorSource:
    """Return the source of a backend's executors, with these options, which are checked here.

    Raises:
        TypeError: An option that the backend doesn't have, or one of a wrong type.
        ValueError: A value that the backend can't use.
    """
    signature = signature_of(cls)
    constructor = f"with_{cls.name}"
    parameters = signature.parameters.values()
    rest = [parameter.name for parameter in parameters if parameter.kind is parameter.VAR_KEYWORD]
    by_name = [parameter.name for parameter in parameters if parameter.kind is not parameter.VAR_KEYWORD]
    try:
        bound = signature.bind(*args, **options)
    except TypeError as error:
        takes_any = len(by_name) < len(parameters)
        unknown = [] if takes_any else [name for name in options if name not in by_name]
        wrong = f" has no option {unknown[0]!r}.{did_you_mean(unknown[0], by_name)}" if unknown else f": {error}."
        msg = f"{constructor}{wrong} Its options are: {', '.join(by_name) or 'none'}."
        raise TypeError(msg) from None
    backend = cls(*args, **options)
    shown_options = {name: value for name, value in bound.arguments.items() if name not in rest}
    for name in rest:
        shown_options |= bound.arguments.get(name, {})
    shown = ", ".join(f"{name}={describe_option(name, value)}" for name, value in shown_options.items())
    return ExecutorSource(
        label=f"{constructor}({shown})",
        open=functools.partial(_open, backend),
        owned=True,
        accepts_options=backend.capabilities.accepts_options,
        kill=backend.kill if overrides(backend, "kill") else None,
        needs_main_thread=backend.needs_main_thread,
    )


def _open(backend: Backend) -> Executor:
    executor: object = backend.open()
    if not isinstance(executor, Executor):
        msg = (
            f"Backend {backend.name!r} opened {executor!r} of type {type(executor).__name__}, which is not a "
            "concurrent.futures.Executor. That is a mistake in the backend: tell its authors."
        )
        raise TypeError(msg)
    return executor


def from_executor(executor: Executor) -> ExecutorSource:
    """Return the source of an executor that the user has made, and will close.

    Raises:
        TypeError: It is none, but a class, say.
    """
    if not isinstance(executor, Executor):
        hint = ""
        if isinstance(executor, type):
            hint = f" Make an object of it: {executor.__name__}(...)."
        elif isinstance(executor, str):
            hint = f" For a backend of that name: Scheduler.with_backend({executor!r})."
        msg = (
            f"executor must be a concurrent.futures.Executor, got {describe_value(executor)} of type "
            f"{type(executor).__name__}.{hint}"
        )
        raise TypeError(msg)
    kill: Callable[[Executor], None] | None = None
    if callable(getattr(executor, "kill_calls", None)):  # which leaves it to its owner as it was
        kill = _kill_calls
    elif isinstance(executor, ProcessPoolExecutor):
        kill = _end_processes
    elif callable(getattr(executor, "kill_workers", None)):  # a stranger's that has it, as the standard pool of 3.14
        kill = _kill_workers
    return ExecutorSource(
        label=type(executor).__name__,
        open=lambda: executor,
        owned=False,
        accepts_options=executor.accepts_options if isinstance(executor, AcceptsOptions) else (),
        kill=kill,
        tells_running=any(
            base.__module__ in _NEEDS_MAIN_THREAD or base.__module__.partition(".")[0] in _TELL
            for base in type(executor).__mro__
        ),
        needs_main_thread=any(base.__module__ in _NEEDS_MAIN_THREAD for base in type(executor).__mro__),
    )


def _kill_calls(executor: Executor) -> None:
    executor.kill_calls()  # type: ignore[attr-defined] # looked for above


def _kill_workers(executor: Executor) -> None:
    executor.kill_workers()  # type: ignore[attr-defined] # looked for above


def _end_processes(executor: Executor) -> None:
    """End the workers of the standard library's pool, and wait until the pool has noticed it.

    Not by `kill_workers` of Python 3.14: that is SIGKILL at once, and returns before the workers are gone.
    """
    pool: Any = executor
    manager = pool._executor_manager_thread  # its thread; forgotten when the pool is shut down
    while processes := [process for process in list((pool._processes or {}).values()) if process.is_alive()]:
        for process in processes:
            process.terminate()
        deadline = time.monotonic() + GRACE_SECONDS
        for process in processes:
            process.join(max(0.0, deadline - time.monotonic()))
            if process.is_alive():
                process.kill()
                process.join()
    if manager is not None:
        manager.join(GRACE_SECONDS)  # it fails the calls that ran
