"""The backend `ray`."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from concurrent.futures import Executor
from importlib.util import find_spec
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any, ClassVar, cast

from amltk.backend import Backend, Capabilities
from amltk.checks import check_current_directory, check_int, check_mapping, check_text
from amltk.describe import describe_option, describe_value

if TYPE_CHECKING:
    from amltk_ray.executor import RayExecutor

AMLTK_CONTRACT = 1


class Ray(Backend):
    """The backend `ray`."""

    name: ClassVar[str] = "ray"
    summary: ClassVar[str] = "Workers of Ray: a cluster of this machine, or one that exists already."
    capabilities: ClassVar[Capabilities] = Capabilities(
        stops_running_work=True,
        survives_dead_worker=True,
        needs_pickling=True,
        crosses_machines=True,
        takes_any_function=True,
        carries_any_exception=True,
        reports_execution=True,
    )

    def __init__(
        self,
        max_workers: int | None = None,
        *,
        num_cpus: float = 1,
        num_gpus: float = 0,
        memory: int | None = None,
        resources: Mapping[str, float] | None = None,
        runtime_env: Mapping[str, Any] | None = None,
        address: str | None = None,
    ) -> None:
        """Run calls with Ray: in a cluster of this machine that is made for the run, or in an existing one.

        Functions and classes of `__main__`, lambdas and closures work, without `if __name__ == "__main__"`.
        A dead worker affects only the call that it ran; no call runs again.

        Args:
            max_workers: Maximum number of calls that run at the same time; by default, as many as the cluster can run.
                A new cluster of this machine can run this many, or else as many as its processors allow.
            num_cpus: The number of processors of a call; Ray counts them, and limits the threads of libraries to them.
            num_gpus: The number of GPUs of a call; it sees no others.
            memory: The bytes of memory of a call. Ray counts them, and does not limit the call to them.
            resources: Other resources of a call, as in `{"license": 1}`.
            runtime_env: The runtime environment of workers, in Ray's form, as in `{"env_vars": {"MODE": "test"}}` or
                `{"pip": ["xgboost"]}`.
            address: The address of an existing cluster, as in "10.0.0.1:6379" or "auto". The cluster stays as it is.
                None uses the program's connection by `ray.init()`, or else starts a cluster for the run.
        """
        if find_spec("ray") is None:
            version = ".".join(map(str, sys.version_info[:2]))
            msg = (
                f"with_ray() needs the library Ray, which is not installed: {sys.executable} -m pip install ray. "
                f"If pip finds none, Ray has no release for Python {version}: use an older Python."
            )
            raise ModuleNotFoundError(msg, name="ray")
        check_int("max_workers", max_workers, at_least=1, or_none=True)
        _check_amount("num_cpus", num_cpus)
        _check_amount("num_gpus", num_gpus)
        check_int("memory", memory, at_least=1, or_none=True)
        check_mapping("resources", resources)
        for name, amount in (resources or {}).items():
            where = f"resources[{describe_value(name)}]"
            if name in _OPTION_OF:
                msg = f"{where} has an option of its own: {_OPTION_OF[name]}={describe_value(amount)}."
                raise ValueError(msg)
            _check_amount(where, amount)
        check_mapping("runtime_env", runtime_env)
        if (variables := (runtime_env or {}).get("env_vars")) is not None:
            check_mapping("runtime_env['env_vars']", variables)
            for name, value in variables.items():
                if not isinstance(value, str):
                    msg = f"runtime_env['env_vars'][{describe_value(name)}] must be a text, got {type(value).__name__}."
                    raise TypeError(msg)
        check_text("address", address, or_none=True)
        if address not in (None, "auto") and not re.fullmatch(r"[^/]+:\d+", address):
            shown = describe_option("address", address)
            msg = (
                f"address must be the one of a cluster's head, as in '10.0.0.1:6379', or 'auto', got {shown}. Run the "
                "program on a machine of the cluster; Ray Client can't be used. Without address=, a cluster is made."
            )
            raise ValueError(msg)
        self._options: Mapping[str, Any] = {
            "max_workers": None if max_workers is None else int(max_workers),  # Ray accepts only Python's own numbers
            "num_cpus": _number(num_cpus),
            "num_gpus": _number(num_gpus),
            "memory": None if memory is None else int(memory),
            "resources": {str(name): _number(amount) for name, amount in (resources or {}).items()},
            "runtime_env": runtime_env,
            "address": address,
        }

    def open(self) -> Executor:
        """Return the executor of a run."""
        check_current_directory("with_ray")
        from amltk_ray.executor import RayExecutor  # Ray is imported on use

        return RayExecutor(**self._options)

    def kill(self, executor: Executor) -> None:
        """End all running work."""
        cast("RayExecutor", executor).kill_workers()


_OPTION_OF = {"CPU": "num_cpus", "GPU": "num_gpus", "memory": "memory"}


_LEAST, _MOST = 0.0001, 1e9  # Ray counts in ten-thousandths, in 64 bits


def _check_amount(name: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, Real):
        got = describe_option(name, value)
        msg = f"{name} must be a number of 0 or more, got {got} of type {type(value).__name__}."
        raise TypeError(msg)
    number: Any = value  # float() of a very large integer raises
    if number != 0 and not _LEAST <= number <= _MOST:
        msg = f"{name} must be a number of 0 or more, from {_LEAST:g} to {_MOST:g}, got {describe_option(name, value)}."
        raise ValueError(msg)


def _number(value: float) -> float:
    return int(value) if isinstance(value, Integral) else float(value)
