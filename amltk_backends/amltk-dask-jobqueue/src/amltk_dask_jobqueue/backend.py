"""The base class of batch system backends. It imports dask on first use."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import Executor
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, cast

from amltk.backend import Backend, Capabilities, HealthCheck
from amltk.checks import check_heartbeat, check_int, check_text, check_type
from amltk_dask_jobqueue.options import merged_docstring, merged_signature
from amltk_dask_jobqueue.system import BatchSystem, Commands

if TYPE_CHECKING:
    from amltk_dask_jobqueue.executor import JobQueueExecutor


class BatchBackend(Backend):
    """A backend of a batch system: subclass it, and set `system`.

    The `__init__` of a subclass has the options that not all systems have, and passes them to this one. Signature
    and docstring of `Scheduler.with_<name>` merge both; the subclass's text on an option takes precedence.

    Attributes:
        system: The batch system, which gives the backend its name.
    """

    system: ClassVar[BatchSystem]
    capabilities: ClassVar[Capabilities] = Capabilities(
        stops_running_work=True,
        survives_dead_worker=True,
        needs_pickling=True,
        crosses_machines=True,
        takes_any_function=True,
        carries_any_exception=True,
        reports_execution=True,
    )

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "system" in vars(cls):
            cls.name = cls.system.name
            cls.summary = f"Jobs of {cls.system.title}, on the nodes of a cluster."
        if (own := vars(cls).get("__init__")) is not None:
            base = cls.__mro__[1]
            cls.__signature__ = merged_signature(own, base)  # type: ignore[attr-defined] # inspect reads it
            own.__doc__ = merged_docstring(own, cast("Any", base).__init__, cls.__signature__, cls.system)  # type: ignore[attr-defined]

    def __init__(
        self,
        n_workers: int,
        *,
        cores: int | None = None,
        memory: str | None = None,
        adaptive: bool = True,
        heartbeat_timeout: float | None = None,
        submit_command: str | None = None,
        cancel_command: str | None = None,
        log_directory: str | None = None,
        **options: Any,
    ) -> None:
        """Run calls in jobs of {system.title}. Each job is a worker, which runs one call at a time.

        dask-jobqueue writes the job script, and its options are those of `dask_jobqueue.{system.cluster}`. Options
        that are not set come from dask's configuration, `~/.config/dask/jobqueue.yaml`.
        `amltk doctor {system.name} --job-script` shows the script. Jobs that end are replaced. The end of the run,
        for whatever reason, cancels its jobs.

        Args:
            n_workers: Maximum number of workers.
            cores: The cores of each worker, all for its call.
            memory: The memory of each worker, such as "6 GB".
            adaptive: Keep as many workers as there are calls, up to `n_workers`, and end idle ones. False keeps
                `n_workers` for the whole run.
            heartbeat_timeout: The seconds without a sign of life from a worker after which its calls fail with
                `WorkerLost`, and its job is cancelled. None waits without a limit.
            submit_command: Replaces "{system.submit_command}", for example "{system.submit_command} -p 10".
            cancel_command: Replaces "{system.cancel_command}".
            log_directory: The folder for the jobs' logs, which stay there. By default a folder in the
                current directory, which is removed after the run. Nodes must have access to it.
            **options: For `dask_jobqueue.{system.cluster}`: `job_script_prologue=["module load cuda"]`, `python=`,
                `interface=` and others.
        """
        from amltk_dask_jobqueue.option_checks import check_command  # it imports amltk-dask

        check_int("n_workers", n_workers, at_least=1)
        check_type("adaptive", adaptive, bool)
        check_heartbeat("heartbeat_timeout", heartbeat_timeout)
        for name, command in (("submit_command", submit_command), ("cancel_command", cancel_command)):
            if command is not None:
                check_type(name, command, str)
                check_command(name, command, getattr(self.system, name))
        check_text("log_directory", log_directory, or_none=True, empty=False)
        options = {**options, "cores": cores, "memory": memory, "log_directory": log_directory}
        from amltk_dask_jobqueue.cluster import check_options

        check_options(self.system, options)
        self._n_workers = n_workers
        self._adaptive = adaptive
        self._heartbeat_timeout = heartbeat_timeout
        self._commands = {"submit_command": submit_command, "cancel_command": cancel_command}
        self._options = options

    def open(self) -> Executor:
        """Return the executor of a run."""
        return self._open(self._n_workers, adaptive=self._adaptive)

    def _open(self, n_workers: int, *, adaptive: bool) -> JobQueueExecutor:
        from amltk_dask_jobqueue.executor import open_executor  # dask is imported on first use

        return open_executor(
            self.system,
            n_workers=n_workers,
            adaptive=adaptive,
            heartbeat_timeout=self._heartbeat_timeout,
            options=self._options,
            **self._commands,
        )

    def kill(self, executor: Executor) -> None:
        """End running calls: cancel their jobs."""
        cast("JobQueueExecutor", executor).kill_workers()

    def job_script(self) -> str:
        """Return the script of a job."""
        from amltk_dask_jobqueue.cluster import job_script

        folder = Path(self._options["log_directory"] or f".amltk-{self.name}-NAME").absolute()
        return job_script(self.system, Commands(self.system, **self._commands), self._options, folder)

    def health_checks(self) -> Iterator[HealthCheck]:
        """Find the submit command, submit one job, and wait until its worker connects."""
        opened: list[JobQueueExecutor] = []

        def command() -> str:
            return Commands(self.system, **self._commands).find()

        def job() -> str:
            opened.append(self._open(1, adaptive=False))
            return f"{self.system.title} has accepted job {opened[0].supervisor.describe()}"

        def address() -> str:
            from amltk_dask_jobqueue.addresses import doubt, hint

            where = opened[0].supervisor.address
            if why := doubt(where):
                return f"workers on other machines cannot connect to {where}: {why}. {hint()}"
            return f"workers connect to {where}"

        def worker() -> str:
            supervisor, shown = opened[0].supervisor, ""
            while not supervisor.counts()["connected"]:
                if supervisor.failure is not None:
                    raise supervisor.failure
                if (state := f"no worker yet: job {supervisor.describe()}") != shown:
                    shown = state
                    print(shown)  # noqa: T201 - shown if the check does not end
                time.sleep(0.2)
            return f"the worker of job {supervisor.describe()} is connected"

        try:
            yield HealthCheck("submit command", command)
            yield HealthCheck("job", job, runs=True)
            yield HealthCheck("address", address, runs=True)
            yield HealthCheck("worker", worker, runs=True)
        finally:
            for executor in opened:
                executor.kill_workers()
                executor.shutdown()
