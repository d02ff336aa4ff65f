"""Where a run gets its executor from, and how the run opens, kills and closes it.

Scheduler.with_x(...) ── from_backend ──┐
Scheduler(executor)  ── from_executor ──┴─> ExecutorSource ──> open_executor ──> kill_calls, close, or abandon
"""

from __future__ import annotations

import functools
import sys
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass, field
from typing import Any

from amltk.backend import AcceptsOptions, Backend, OptionName, overrides
from amltk.checks import did_you_mean, signature_of
from amltk.describe import describe_option, describe_value
from amltk.scheduling.blocking import bring_about
from amltk.scheduling.main_thread import check_main_thread

CLOSE_SECONDS = 30.0
"""How long the executor may take to be killed or closed before the run ends without it."""
GRACE_SECONDS = 2.0
"""How long the workers of a user's executor have between SIGTERM and SIGKILL."""

_NEEDS_MAIN_THREAD = frozenset(f"concurrent.futures.{name}" for name in ("thread", "process", "interpreter"))


_TELL = frozenset(
    {
        *("amltk", "loky"),
        *(f"amltk_{name}" for name in ("processes", "loky", "sequential", "dask", "ray", "airflow", "testing")),
    }
)
"""Packages whose futures return True from `running()` once a worker has begun the call."""


@dataclass(frozen=True)
class ExecutorSource:
    """Opens an executor for a run.

    Attributes:
        label: Its description in messages: `with_processes(max_workers=2)`.
        open: Returns the executor.
        owned: Whether the run closes it; an executor that the user passed in stays open.
        accepts_options: The options of a call that it honours, by `submit_call`.
        kill: Ends its running calls; None if it can't.
        needs_main_thread: Whether it refuses calls after the main thread of the program has ended.
        tells_running: Whether `running()` of its futures returns True once a worker has begun the call.
    """

    label: str
    open: Callable[[], Executor]
    owned: bool
    accepts_options: tuple[OptionName, ...]
    kill: Callable[[Executor], None] | None = field(default=None)
    needs_main_thread: bool = False
    tells_running: bool = True

    def open_executor(self) -> Executor:
        """Return the executor of a run.

        Raises:
            NotSupportedError: It needs the main thread, which has ended.
            Exception: What opening it raises.
        """
        if not self.needs_main_thread:
            return self.open()
        check_main_thread(self.label)
        try:
            executor = self.open()
        except RuntimeError as error:
            check_main_thread(self.label, error)
            raise
        try:
            check_main_thread(self.label)  # it may have ended meanwhile
        except BaseException:
            self.abandon(executor)
            raise
        return executor

    async def kill_calls(self, executor: Executor) -> None:
        """End the running calls, without blocking the loop; log what goes wrong. Needs `kill`."""
        assert self.kill is not None
        await bring_about(self.label, "killed", functools.partial(self.kill, executor), CLOSE_SECONDS)

    async def close(self, executor: Executor, *, wait: bool) -> None:
        """Shut the executor down if it is owned, without blocking the loop; log what goes wrong."""
        if self.owned:
            shutdown = functools.partial(executor.shutdown, wait, cancel_futures=True)
            await bring_about(self.label, "closed", shutdown, CLOSE_SECONDS)

    def abandon(self, executor: Executor) -> None:
        """End the running calls, and shut the executor down if it is owned, without waiting for it."""
        if self.kill is not None:
            self.kill(executor)
        if self.owned:
            executor.shutdown(wait=False, cancel_futures=True)


def from_backend(cls: type[Backend], args: tuple[Any, ...], options: Mapping[str, Any]) -> ExecutorSource:
    """Return the source of a backend's executors; check the options.

    Raises:
        TypeError: The backend has no such option, or a value is of a wrong type.
        ValueError: The backend can't use a value.
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
    """Return the source of an executor that the user has made and closes.

    Raises:
        TypeError: It is no executor.
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
    if callable(getattr(executor, "kill_calls", None)):  # it leaves the executor usable
        kill = _kill_calls
    elif _is_process_pool(executor):
        kill = _end_processes
    elif callable(getattr(executor, "kill_workers", None)):  # such as the standard library's pool from Python 3.14 on
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


def _is_process_pool(executor: Executor) -> bool:
    module = sys.modules.get("concurrent.futures.process")  # loaded if there is a pool; takes 8 ms to import otherwise
    return module is not None and isinstance(executor, module.ProcessPoolExecutor)


def _kill_calls(executor: Executor) -> None:
    executor.kill_calls()  # type: ignore[attr-defined] # checked above


def _kill_workers(executor: Executor) -> None:
    executor.kill_workers()  # type: ignore[attr-defined] # checked above


def _end_processes(executor: Executor) -> None:
    """End the workers of the standard library's pool, and wait until the pool has noticed.

    `kill_workers` of Python 3.14 sends SIGKILL at once, and returns before the workers have ended.
    """
    pool: Any = executor
    manager = pool._executor_manager_thread  # a thread; None after the pool is shut down
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
        manager.join(GRACE_SECONDS)  # it fails the running calls
