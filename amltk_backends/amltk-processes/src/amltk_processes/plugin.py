"""The backend `processes`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from typing import TYPE_CHECKING, Any, ClassVar, cast

from amltk.backend import Backend, Capabilities
from amltk_processes import why_unavailable
from amltk_processes._options import check_options

if TYPE_CHECKING:
    from multiprocessing.context import BaseContext

    from amltk_processes import ProcessPoolExecutor

AMLTK_CONTRACT = 1


class Processes(Backend):
    """The backend `processes`."""

    name: ClassVar[str] = "processes"
    summary: ClassVar[str] = "Processes of this machine: for work that computes, and may crash."
    capabilities: ClassVar[Capabilities] = Capabilities(
        stops_running_work=True,
        survives_dead_worker=True,
        needs_pickling=True,
        takes_any_function=True,
        carries_any_exception=True,
        accepts_options=("timeout",),
        reports_execution=True,
    )
    needs_main_thread: ClassVar[bool] = False
    unavailable: ClassVar[str] = why_unavailable()

    def __init__(
        self,
        max_workers: int | None = None,
        *,
        mp_context: BaseContext | None = None,
        initializer: Callable[..., object] | None = None,
        initargs: tuple[Any, ...] = (),
        max_tasks_per_child: int | None = None,
        heartbeat_timeout: float | None = None,
        forward_logs: bool = True,
        preload: Sequence[str] = (),
    ) -> None:
        """Run calls in processes of this machine.

        A process that dies fails only the call that it ran; `wait=False` and Ctrl-C end running calls
        and their child processes. Functions and classes of `__main__`, lambdas and closures work, and
        the script needs no `if __name__ == "__main__"`.

        Args:
            max_workers: The most processes at a time; by default one for each processor that this process
                may use. They start when there are calls for them.
            mp_context: A context of `multiprocessing.get_context(...)`: how processes start. `forkserver`, the
                default: as forks of a small process, which is quick and safe. `spawn`: as fresh interpreters.
                `fork`: with the memory of this program as it is at the first call, and the dangers of that.
            initializer: Called in each process before its first call. If it raises, the pool is broken
                and every call fails.
            initargs: Passed to `initializer`.
            max_tasks_per_child: A process is replaced after so many calls; None keeps it.
            heartbeat_timeout: A process that gives no sign of life for so many seconds is ended and
                replaced, and its call fails with `WorkerLost`. None, the default, waits for ever.
            forward_logs: The loggers of this process handle log records and warnings of calls, with the
                call's name and the process's id. Their levels are those of the moment when the first process
                starts. False leaves records in the workers, where warnings go to stderr.
            preload: Names of modules, such as `["sklearn"]`, to import before the first call: once, in the
                process that forks workers; with the start method `spawn`, in each worker. This time does not count
                for the limits of calls. If a module can't be imported, `run()` raises that ImportError.
        """
        self._options: Mapping[str, Any] = {
            "max_workers": max_workers,
            "mp_context": mp_context,
            "initializer": initializer,
            "initargs": initargs,
            "max_tasks_per_child": max_tasks_per_child,
            "heartbeat_timeout": heartbeat_timeout,
            "forward_logs": forward_logs,
            "preload": preload,
        }
        check_options(**self._options)

    def open(self) -> Executor:
        """Return the executor of a run."""
        from amltk_processes import ProcessPoolExecutor  # imported late, so that listing backends stays cheap

        return ProcessPoolExecutor(**self._options)

    def kill(self, executor: Executor) -> None:
        """End the calls that run."""
        cast("ProcessPoolExecutor", executor).kill_workers()
