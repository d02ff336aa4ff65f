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

        Each worker is a pool of loky's, made for the run: one that dies takes only the call that it ran
        with it. `wait=False` and Ctrl-C end what runs, children of calls included. Functions and
        classes of `__main__`, lambdas and closures work, without `if __name__ == "__main__"`.

        Args:
            max_workers: How many processes there are at most; by default one for each processor that
                this process may use, but no more than `loky.cpu_count()` says. They are started when
                there is work for them.
            timeout: After so many idle seconds a process ends, and a new one is started when it is
                needed. None keeps it until the run is over; with `reusable`, it is loky's 10 seconds.
            initializer: Called in each process before its first call. If it raises, the pool is broken
                and every call fails.
            initargs: Passed to `initializer`.
            env: Environment variables of the processes, set before they load any module, as in
                `{"OMP_NUM_THREADS": "1"}`, for how many threads the libraries there have.
            reusable: Use the pool of `loky.get_reusable_executor()`, which others may use, too, and which is
                left open. A worker that dies in there ends all calls that run.
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
        from amltk_loky.executor import LokyExecutor  # loky is imported when it is used

        return LokyExecutor(**self._options)

    def kill(self, executor: Executor) -> None:
        """End what runs."""
        cast("LokyExecutor", executor).kill_workers()
