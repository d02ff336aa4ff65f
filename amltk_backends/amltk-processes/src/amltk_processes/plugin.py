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

        A process that dies takes only the call that it ran with it; `wait=False` and Ctrl-C end what
        runs, children of calls included. Functions and classes of `__main__`, lambdas and closures
        work, and the script needs no `if __name__ == "__main__"`.

        Args:
            max_workers: How many processes there are at most; by default one for each processor that
                this process may use. They are started when there is work for them.
            mp_context: As of `multiprocessing.get_context(...)`, for how processes are started. `forkserver`, the
                default: as forks of a small process of their own, which is quick and safe. `spawn`: each anew.
                `fork`: with the memory of this program as it is at the first call, and the dangers of that.
            initializer: Called in each process before its first call. If it raises, the pool is broken
                and every call fails.
            initargs: Passed to `initializer`.
            max_tasks_per_child: After so many calls a process makes room for a new one; None keeps it.
            heartbeat_timeout: A process that gives no sign of life for so many seconds, because it was
                stopped, say, is ended and replaced, and its call fails with `WorkerLost`. None, the
                default, waits for ever.
            forward_logs: Log records and warnings of calls are handled by the loggers of this process,
                with the call's name and the process's id; they are those that it logs itself when a
                first process is started. False leaves them there, where warnings go to stderr.
            preload: Names of modules, such as `["sklearn"]`, that are imported before the first call: once, in the
                process of which workers are forks; with the start method `spawn`, in each worker. No limit of a call
                has to include the time that this takes. If one can't be imported, `run()` raises that ImportError.
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
        from amltk_processes import ProcessPoolExecutor  # it takes what a listing need not load

        return ProcessPoolExecutor(**self._options)

    def kill(self, executor: Executor) -> None:
        """End what runs."""
        cast("ProcessPoolExecutor", executor).kill_workers()
