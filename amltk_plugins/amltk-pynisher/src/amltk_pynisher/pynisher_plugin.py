"""The plugin: it wraps the function of each call, and tells by events which limit was exceeded."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable
from typing import Any, ClassVar

from amltk import Event, Task, TaskPlugin
from amltk_pynisher._call import LimitedFunction, allow_calls, stop_calls
from amltk_pynisher._checks import Amount, checked
from amltk_pynisher._library import pynisher

AMLTK_CONTRACT = 1


class PynisherPlugin(TaskPlugin):
    """Limits the memory, the cpu time and the wall time of each call of its task.

    A call that exceeds a limit is ended, and whatever it has started with it; the worker lives on.
    Its exception, for `on_exception` of task and scheduler, is one of pynisher's. They are
    attributes of this class too, for `run(on_exception={PynisherPlugin.TimeoutException: "ignore"})`.
    The plugin's own events come first; their callbacks receive that exception.

    Each call runs in a process of its own, so it changes nothing in the worker's memory, and its
    result must be picklable with every backend. Where the worker has a single Python thread, that
    process is a fork: it takes milliseconds, and what the worker has imported is there. Threads of
    OpenMP are ended before, and come back with the next parallel loop. Elsewhere, as in
    `with_threads`, it is a fresh interpreter, since a fork might hang: that takes some tenths of a
    second and the import of the function's module, anew for each call. This does not count for the
    limits; what the function itself imports does.

    Log records and warnings of a call arrive as without limits, also those of a call that is ended.

    Example:
        ```python
        task = scheduler.task(fit, plugins=PynisherPlugin(memory_limit=(2, "GB"), walltime_limit=(5, "m")))


        @task.on(PynisherPlugin.TIMEOUT)
        def too_slow(error: PynisherPlugin.TimeoutException) -> None:
            print(error)
        ```
    """

    name: ClassVar[str] = "pynisher"

    TIMEOUT: Event[pynisher.TimeoutException] = Event(
        "pynisher-timeout", "A call exceeded its wall-time or cpu-time limit; callbacks receive (exception)."
    )
    MEMORY_LIMIT_REACHED: Event[pynisher.MemoryLimitException] = Event(
        "pynisher-memory-limit", "A call exceeded its memory limit; callbacks receive (exception)."
    )
    CPU_TIME_LIMIT_REACHED: Event[pynisher.CpuTimeoutException] = Event(
        "pynisher-cputime-limit", "A call exceeded its cpu-time limit; callbacks receive (exception)."
    )
    WALL_TIME_LIMIT_REACHED: Event[pynisher.WallTimeoutException] = Event(
        "pynisher-walltime-limit", "A call exceeded its wall-time limit; callbacks receive (exception)."
    )

    PynisherException = pynisher.PynisherException
    TimeoutException = pynisher.TimeoutException
    WallTimeoutException = pynisher.WallTimeoutException
    CpuTimeoutException = pynisher.CpuTimeoutException
    MemoryLimitException = pynisher.MemoryLimitException

    def __init__(
        self,
        *,
        memory_limit: int | tuple[float, str] | None = None,
        cputime_limit: Amount | None = None,
        walltime_limit: Amount | None = None,
    ) -> None:
        """Set the limits; without any, calls are left as they are.

        Args:
            memory_limit: How much address space the process of a call may have, what is there
                before it begins included (interpreter and libraries: some 100 MB): bytes, or
                (number, unit) with the unit "B", "KB", "MB" or "GB", of 1024 each. Each process
                that the call starts has the limit for itself.
            cputime_limit: How many seconds of cpu time it may use, or (number, unit) with the unit
                "s", "m" or "h"; at least a second, and rounded up to whole ones. All threads
                count; processes that the call starts have the limit for themselves.
            walltime_limit: How many seconds it may take, or (number, unit) likewise; from the
                moment a worker takes the call up, or a fresh interpreter has loaded it.

        Raises:
            TypeError: A limit is neither a number nor a number with a unit.
            ValueError: A number is not above 0, or a unit is unknown.
            NotImplementedError: This system does not support a limit. Linux supports all,
                macOS the times.
        """
        self.limits = checked(memory_limit, cputime_limit, walltime_limit)
        self._owner = uuid.uuid4().hex
        self._limited: LimitedFunction | None = None

    def attach_task(self, task: Task[..., Any]) -> None:
        """Follow the exceptions of the task's calls, and the ends of its scheduler's runs."""
        task.on_exception(self._tell)
        # Calls in threads of this process are beyond the reach of the backend: what they run is not.
        task.scheduler.on_start(self._allow)
        task.scheduler.on_finishing(self._stop)

    def pre_submit(
        self, function: Callable[..., Any], /, *args: Any, **kwargs: Any
    ) -> tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]:
        """Wrap the function."""
        if not any(self.limits):
            return function, args, kwargs
        if self._limited is None or self._limited.function is not function:
            self._limited = LimitedFunction(function, self.limits, self._owner)
        return self._limited, args, kwargs

    def _tell(self, _future: asyncio.Future[Any], error: BaseException) -> None:
        assert self.task is not None
        if isinstance(error, pynisher.TimeoutException):
            self.task.emit(self.TIMEOUT, error)
        if isinstance(error, pynisher.WallTimeoutException):
            self.task.emit(self.WALL_TIME_LIMIT_REACHED, error)
        elif isinstance(error, pynisher.CpuTimeoutException):
            self.task.emit(self.CPU_TIME_LIMIT_REACHED, error)
        elif isinstance(error, pynisher.MemoryLimitException):
            self.task.emit(self.MEMORY_LIMIT_REACHED, error)

    def _allow(self) -> None:
        allow_calls(self._owner)

    def _stop(self) -> None:
        stop_calls(self._owner)

    def __repr__(self) -> str:
        memory, cpu_time, wall_time = self.limits
        limits = []
        if memory is not None:
            limits.append(f"memory: {memory / 2**20:g} MB")
        if cpu_time is not None:
            limits.append(f"cpu time: {cpu_time} s")
        if wall_time is not None:
            limits.append(f"wall time: {wall_time:g} s")
        return f"PynisherPlugin({', '.join(limits) or 'no limits'})"
