"""The plugin `PynisherPlugin`: wraps the function of each call, and reports by events which limit was exceeded."""

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

    A call that exceeds a limit ends, with all that it has started; the worker continues. The call
    fails with an exception of pynisher, which is also an attribute of this class, as in
    `run(on_exception={PynisherPlugin.TimeoutException: "ignore"})`. The plugin's own events come
    before `on_exception`; their callbacks receive that exception.

    Each call runs in a process of its own, so it changes nothing in the worker's memory, and its
    result must be picklable with every backend. If the worker has a single Python thread, that
    process is a fork, which takes milliseconds and has the worker's imports. OpenMP's threads end
    before the fork; the next parallel loop starts them again. Otherwise, as in `with_threads`, a fork
    might hang, so it is a fresh interpreter. This takes some tenths of a second and an import of the
    function's module for each call, which do not count for the limits. Imports of the function count.

    Log records and warnings of a call arrive as without limits, even if the call is ended.

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
        """Set the limits; without any, calls run unchanged.

        Args:
            memory_limit: Address space of the call's process, including what it has at its start
                (interpreter and libraries: some 100 MB). Bytes, or (number, unit) with the unit
                "B", "KB", "MB" or "GB", in steps of 1024. Each process that the call starts has the
                same limit for itself.
            cputime_limit: Cpu time in seconds, or (number, unit) with the unit "s", "m" or
                "h"; at least 1 second, rounded up to whole seconds. All threads count; each process
                that the call starts has the same limit for itself.
            walltime_limit: Wall time in seconds, or (number, unit) likewise. It begins when a
                worker takes the call up, or when a fresh interpreter has loaded it.

        Raises:
            TypeError: A limit is neither a number nor a number with a unit.
            ValueError: A number is not above 0, or a unit is unknown.
            NotImplementedError: This system does not support a limit. Linux supports all limits,
                macOS the time limits.
        """
        self.limits = checked(memory_limit, cputime_limit, walltime_limit)
        self._owner = uuid.uuid4().hex
        self._limited: LimitedFunction | None = None

    def attach_task(self, task: Task[..., Any]) -> None:
        """Register callbacks for failed calls, and for the start and end of runs."""
        task.on_exception(self._tell)
        # The backend can't end threads of this process. The processes of their calls can be ended here.
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
