"""Registers the backend `ray`."""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from importlib.util import find_spec
from numbers import Real
from typing import TYPE_CHECKING, Any, cast

from amltk.backend import Backend, Capabilities
from amltk.checks import check_current_directory, check_int, check_type
from amltk.hookspecs import hookimpl

if TYPE_CHECKING:
    from amltk_ray.executor import RayExecutor

AMLTK_CONTRACT = 1


def ray(
    max_workers: int | None = None,
    *,
    num_cpus: float = 1,
    num_gpus: float = 0,
    memory: int | None = None,
    resources: Mapping[str, float] | None = None,
    runtime_env: Mapping[str, Any] | None = None,
    address: str | None = None,
) -> Executor:
    """Run calls with Ray: in a cluster of this machine that is made for the run, or in one that exists.

    Functions and classes of `__main__`, lambdas and closures work, without `if __name__ == "__main__"`.
    A worker that dies takes only the call with it that it ran; no call is run again.

    Args:
        max_workers: How many calls run at the same time at most; by default, as many as have room. A cluster
            of this machine has room for as many as are asked for here, or else for what its processors allow.
        num_cpus: How many processors a call takes; Ray counts them, and limits the threads of libraries to them.
        num_gpus: How many GPUs a call takes; it sees no others.
        memory: How many bytes of memory a call takes. Ray counts them, and does not limit the call to them.
        resources: What else a call takes, as in `{"license": 1}`.
        runtime_env: What workers need, as in `{"env_vars": {"MODE": "test"}}` or `{"pip": ["xgboost"]}`: a
            runtime environment of Ray's.
        address: Of a cluster that exists, as in "10.0.0.1:6379" or "auto". It stays as it is. None: if the
            program is connected by `ray.init()`, that is used; else a cluster of this machine is started and stopped.
    """
    check_current_directory("with_ray")
    from amltk_ray.executor import RayExecutor  # Ray is imported when it is used

    return RayExecutor(
        max_workers,
        num_cpus=num_cpus,
        num_gpus=num_gpus,
        memory=memory,
        resources=resources,
        runtime_env=runtime_env,
        address=address,
    )


def _check(
    max_workers: int | None = None,
    *,
    num_cpus: float = 1,
    num_gpus: float = 0,
    memory: int | None = None,
    resources: Mapping[str, float] | None = None,
    runtime_env: Mapping[str, Any] | None = None,
    address: str | None = None,
) -> None:
    if find_spec("ray") is None:
        version = ".".join(map(str, sys.version_info[:2]))
        msg = (
            f"with_ray() needs the library Ray, which is not installed: {sys.executable} -m pip install ray. "
            f"Where pip finds none, Ray has no release for Python {version}: use an older Python."
        )
        raise ModuleNotFoundError(msg, name="ray")
    check_int("max_workers", max_workers, at_least=1, or_none=True)
    _check_amount("num_cpus", num_cpus)
    _check_amount("num_gpus", num_gpus)
    check_int("memory", memory, at_least=1, or_none=True)
    if resources is not None:
        check_type("resources", resources, Mapping)
        for name, amount in resources.items():
            check_type(f"the name {name!r} in resources", name, str)
            if name in _OPTION_OF:
                msg = f"resources[{name!r}] has an option of its own: {_OPTION_OF[name]}={amount!r}."
                raise ValueError(msg)
            _check_amount(f"resources[{name!r}]", amount)
    if runtime_env is not None:
        check_type("runtime_env", runtime_env, Mapping)
    if address is not None:
        check_type("address", address, str)
        if address != "auto" and not re.fullmatch(r"[^/]+:\d+", address):
            msg = (
                f"address must be that of a cluster's head, as in '10.0.0.1:6379', or 'auto', got {address!r}. Run the "
                "program on a machine of the cluster; Ray Client can't be used. Without address=, a cluster is made."
            )
            raise ValueError(msg)


_OPTION_OF = {"CPU": "num_cpus", "GPU": "num_gpus", "memory": "memory"}


def _check_amount(name: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, Real):
        msg = f"{name} must be a number of 0 or more, got {value!r} of type {type(value).__name__}."
        raise TypeError(msg)
    if not (math.isfinite(value) and float(value) >= 0):
        msg = f"{name} must be a number of 0 or more, got {value!r}."
        raise ValueError(msg)


def _kill(executor: Executor) -> None:
    cast("RayExecutor", executor).kill_workers()


@hookimpl
def amltk_register_backends(register: Callable[[Backend], None]) -> None:
    """Register the backend `ray`."""
    register(
        Backend(
            name="ray",
            summary="Workers of Ray: a cluster of this machine, or one that exists already.",
            create=ray,
            check=_check,
            kill=_kill,
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
    )
