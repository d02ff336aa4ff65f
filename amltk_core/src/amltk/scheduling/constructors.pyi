# Written by tools/generate_constructors.py from the backends of this repository; do not edit.

from collections.abc import Callable, Mapping, Sequence
from multiprocessing.context import BaseContext
from typing import Any, Self

class Constructors:
    @classmethod
    def with_airflow(
        cls,
        url: str,
        store: str,
        *,
        username: str | None = None,
        key_file: str | None = None,
        max_workers: int = 16,
        interval: float = 1.0,
        lease: float = 30.0,
    ) -> Self: ...
    @classmethod
    def with_dask(
        cls,
        n_workers: int | None = None,
        *,
        address: str | None = None,
        client: Any = None,
        allowed_failures: int = 0,
        heartbeat_timeout: float | None = None,
        security: Any = None,
        **options: Any,
    ) -> Self: ...
    @classmethod
    def with_htcondor(
        cls,
        n_workers: int,
        *,
        disk: str | None = None,
        cores: int | None = None,
        memory: str | None = None,
        adaptive: bool = True,
        heartbeat_timeout: float | None = None,
        submit_command: str | None = None,
        cancel_command: str | None = None,
        log_directory: str | None = None,
        **options: Any,
    ) -> Self: ...
    @classmethod
    def with_loky(
        cls,
        max_workers: int | None = None,
        *,
        timeout: float | None = None,
        initializer: Callable[..., object] | None = None,
        initargs: tuple[Any, ...] = (),
        env: Mapping[str, str] | None = None,
        reusable: bool = False,
    ) -> Self: ...
    @classmethod
    def with_lsf(
        cls,
        n_workers: int,
        *,
        queue: str | None = None,
        walltime: str | None = None,
        project: str | None = None,
        cores: int | None = None,
        memory: str | None = None,
        adaptive: bool = True,
        heartbeat_timeout: float | None = None,
        submit_command: str | None = None,
        cancel_command: str | None = None,
        log_directory: str | None = None,
        **options: Any,
    ) -> Self: ...
    @classmethod
    def with_moab(
        cls,
        n_workers: int,
        *,
        queue: str | None = None,
        walltime: str | None = None,
        account: str | None = None,
        resource_spec: str | None = None,
        cores: int | None = None,
        memory: str | None = None,
        adaptive: bool = True,
        heartbeat_timeout: float | None = None,
        submit_command: str | None = None,
        cancel_command: str | None = None,
        log_directory: str | None = None,
        **options: Any,
    ) -> Self: ...
    @classmethod
    def with_oar(
        cls,
        n_workers: int,
        *,
        queue: str | None = None,
        walltime: str | None = None,
        project: str | None = None,
        resource_spec: str | None = None,
        cores: int | None = None,
        memory: str | None = None,
        adaptive: bool = True,
        heartbeat_timeout: float | None = None,
        submit_command: str | None = None,
        cancel_command: str | None = None,
        log_directory: str | None = None,
        **options: Any,
    ) -> Self: ...
    @classmethod
    def with_pbs(
        cls,
        n_workers: int,
        *,
        queue: str | None = None,
        walltime: str | None = None,
        account: str | None = None,
        resource_spec: str | None = None,
        cores: int | None = None,
        memory: str | None = None,
        adaptive: bool = True,
        heartbeat_timeout: float | None = None,
        submit_command: str | None = None,
        cancel_command: str | None = None,
        log_directory: str | None = None,
        **options: Any,
    ) -> Self: ...
    @classmethod
    def with_processes(
        cls,
        max_workers: int | None = None,
        *,
        mp_context: BaseContext | None = None,
        initializer: Callable[..., object] | None = None,
        initargs: tuple[Any, ...] = (),
        max_tasks_per_child: int | None = None,
        heartbeat_timeout: float | None = None,
        forward_logs: bool = True,
        preload: Sequence[str] = (),
    ) -> Self: ...
    @classmethod
    def with_ray(
        cls,
        max_workers: int | None = None,
        *,
        num_cpus: float = 1,
        num_gpus: float = 0,
        memory: int | None = None,
        resources: Mapping[str, float] | None = None,
        runtime_env: Mapping[str, Any] | None = None,
        address: str | None = None,
    ) -> Self: ...
    @classmethod
    def with_sequential(cls) -> Self: ...
    @classmethod
    def with_sge(
        cls,
        n_workers: int,
        *,
        queue: str | None = None,
        walltime: str | None = None,
        project: str | None = None,
        resource_spec: str | None = None,
        cores: int | None = None,
        memory: str | None = None,
        adaptive: bool = True,
        heartbeat_timeout: float | None = None,
        submit_command: str | None = None,
        cancel_command: str | None = None,
        log_directory: str | None = None,
        **options: Any,
    ) -> Self: ...
    @classmethod
    def with_slurm(
        cls,
        n_workers: int,
        *,
        queue: str | None = None,
        walltime: str | None = None,
        account: str | None = None,
        cores: int | None = None,
        memory: str | None = None,
        adaptive: bool = True,
        heartbeat_timeout: float | None = None,
        submit_command: str | None = None,
        cancel_command: str | None = None,
        log_directory: str | None = None,
        **options: Any,
    ) -> Self: ...
    @classmethod
    def with_threads(
        cls,
        max_workers: int | None = None,
        *,
        thread_name_prefix: str = "",
        initializer: Callable[..., object] | None = None,
        initargs: tuple[Any, ...] = (),
    ) -> Self: ...
