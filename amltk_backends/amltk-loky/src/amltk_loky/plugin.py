"""The backend `loky`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from typing import TYPE_CHECKING, Any, ClassVar, cast

from amltk.backend import Backend, Capabilities
from amltk.checks import check_callable, check_int, check_not_patched, check_seconds, check_type

if TYPE_CHECKING:
    from amltk_loky.executor import LokyExecutor

AMLTK_CONTRACT = 1


class Loky(Backend):
    """The backend `loky`."""

    name: ClassVar[str] = "loky"
    summary: ClassVar[str] = "Processes of loky: for programs that use it already, with control of their environment."
    capabilities: ClassVar[Capabilities] = Capabilities(
        stops_running_work=True,
        survives_dead_worker=True,
        needs_pickling=True,
        takes_any_function=True,
        carries_any_exception=True,
        reports_execution=True,
    )

    def __init__(
        self,
        max_workers: int | None = None,
        *,
        timeout: float | None = None,
        initializer: Callable[..., object] | None = None,
        initargs: tuple[Any, ...] = (),
        env: Mapping[str, str] | None = None,
        reusable: bool = False,
    ) -> None:
        """Run calls in processes of loky.

        Each worker is a pool of loky's, made for the run: a dead worker affects only the call that it ran.
        `wait=False` and Ctrl-C end running work, children of calls included. Functions and classes of
        `__main__`, lambdas and closures work, without `if __name__ == "__main__"`.

        Args:
            max_workers: Maximum number of processes; by default one for each processor that this process may
                use, up to `loky.cpu_count()`. They start when there is work for them.
            timeout: Idle seconds after which a process ends; a new one starts when it is needed. None keeps
                processes until the end of the run; with `reusable`, it means loky's 10 seconds.
            initializer: Called in each process before its first call. If it raises, the pool is broken
                and every call fails.
            initargs: Passed to `initializer`.
            env: Environment variables of the processes, set before they load any module. For example,
                `{"OMP_NUM_THREADS": "1"}` limits the threads of libraries.
            reusable: Use the pool of `loky.get_reusable_executor()`, which other code may use, too, and which
                stays open. A worker that dies in it ends all running calls.
        """
        check_int("max_workers", max_workers, at_least=1, or_none=True)
        check_seconds("timeout", timeout, or_none=True, zero=False)
        if initializer is not None:
            check_callable("initializer", initializer)
        check_type("initargs", initargs, tuple)
        if env is not None:
            check_type("env", env, Mapping)
            for name, value in env.items():
                check_type(f"the name {name!r} in env", name, str)
                check_type(f"env[{name!r}]", value, str)
        check_type("reusable", reusable, bool)
        self._options: Mapping[str, Any] = {
            "max_workers": max_workers,
            "timeout": timeout,
            "initializer": initializer,
            "initargs": initargs,
            "env": env,
            "reusable": reusable,
        }

    def open(self) -> Executor:
        """Return the executor of a run."""
        check_not_patched("with_loky", "threading")
        from amltk_loky.executor import LokyExecutor  # loky is imported on use

        return LokyExecutor(**self._options)

    def kill(self, executor: Executor) -> None:
        """End all running work."""
        cast("LokyExecutor", executor).kill_workers()
