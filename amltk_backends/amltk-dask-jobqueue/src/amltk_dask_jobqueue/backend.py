"""Makes a backend of a batch system; nothing of dask is imported here before it is used."""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Executor
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from amltk.backend import Backend, Capabilities, Examination
from amltk.checks import check_heartbeat, check_int, check_type
from amltk_dask_jobqueue.option_checks import check_command
from amltk_dask_jobqueue.system import BatchSystem, Commands

if TYPE_CHECKING:
    from amltk_dask_jobqueue.executor import JobQueueExecutor


def batch_backend(system: BatchSystem, create: Callable[..., Executor], *, summary: str) -> Backend:
    """Return the backend of a batch system.

    Args:
        system: Which one.
        create: Makes its executor by `open_executor`; it has the options of that, and those of dask-jobqueue.
        summary: One line for people who choose.
    """

    def check(n_workers: int, **more: Any) -> None:
        check_int("n_workers", n_workers, at_least=1)
        check_type("adaptive", more.pop("adaptive", True), bool)
        check_heartbeat("heartbeat_timeout", more.pop("heartbeat_timeout", None))
        for name in ("submit_command", "cancel_command"):
            if (value := more.pop(name, None)) is not None:
                check_type(name, value, str)
                check_command(name, value, getattr(system, name))
        if (folder := more.get("log_directory")) is not None:
            check_type("log_directory", folder, str)
        from amltk_dask_jobqueue.cluster import check_options

        check_options(system, more)

    check.__signature__ = inspect.signature(create)  # type: ignore[attr-defined] # it takes the same options

    def job_script(
        n_workers: int,  # noqa: ARG001 - the script is the same for any number
        *,
        adaptive: bool = True,  # noqa: ARG001
        heartbeat_timeout: float | None = None,  # noqa: ARG001
        submit_command: str | None = None,
        cancel_command: str | None = None,
        **options: Any,
    ) -> str:
        from amltk_dask_jobqueue.cluster import job_script

        folder = Path(options.get("log_directory") or f".amltk-{system.name}-NAME").absolute()
        return job_script(system, Commands(system, submit_command, cancel_command), options, folder)

    def examinations(**options: Any) -> Iterator[Examination]:
        return _examinations(system, create, options)

    return Backend(
        name=system.name,
        summary=summary,
        create=create,
        check=check,
        kill=_kill,
        examinations=examinations,
        job_script=job_script,
        capabilities=Capabilities(
            stops_running_work=True,
            survives_dead_worker=True,
            needs_pickling=True,
            crosses_machines=True,
            takes_any_function=True,
            carries_any_exception=True,
            reports_execution=True,
        ),
    )


def _kill(executor: Executor) -> None:
    executor.kill_workers()  # type: ignore[attr-defined] # it is a JobQueueExecutor, which is not imported here


def _examinations(
    system: BatchSystem, create: Callable[..., Executor], options: Mapping[str, Any]
) -> Iterator[Examination]:
    opened: list[JobQueueExecutor] = []

    def command() -> str:
        return Commands(system, options.get("submit_command")).find()

    def job() -> str:
        executor = create(**{**options, "n_workers": 1, "adaptive": False})
        opened.append(cast("JobQueueExecutor", executor))
        supervisor = opened[0].supervisor
        return f"{system.title} has taken job {supervisor.describe()}"

    def address() -> str:
        from amltk_dask_jobqueue.addresses import doubt, hint

        where = opened[0].supervisor.address
        if why := doubt(where):
            return f"workers on other machines cannot connect to {where}: {why}. {hint()}"
        return f"workers connect to {where}"

    def worker() -> str:
        supervisor, said = opened[0].supervisor, ""
        while not supervisor.counts()["connected"]:
            if supervisor.failure is not None:
                raise supervisor.failure
            if (words := f"no worker yet: job {supervisor.describe()}") != said:
                said = words
                print(said)  # noqa: T201 - what is shown if it does not come to an end
            time.sleep(0.2)
        return f"one is connected, of job {supervisor.describe()}"

    try:
        yield Examination("submit command", command)
        yield Examination("job", job, runs=True)
        yield Examination("address", address, runs=True)
        yield Examination("worker", worker, runs=True)
    finally:
        for executor in opened:
            executor.kill_workers()
            executor.shutdown()
