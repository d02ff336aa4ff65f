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
            address: Of a cluster that exists, as in "10.0.0.1:6379" or "auto". It stays as it is. None: if the program
                is connected by `ray.init()`, that is used; else a cluster of this machine is started and stopped.
        """
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
                f"address must be that of a cluster's head, as in '10.0.0.1:6379', or 'auto', got {shown}. Run the "
                "program on a machine of the cluster; Ray Client can't be used. Without address=, a cluster is made."
            )
            raise ValueError(msg)
        self._options: Mapping[str, Any] = {
            "max_workers": None if max_workers is None else int(max_workers),  # Ray takes Python's own numbers alone
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
        from amltk_ray.executor import RayExecutor  # Ray is imported when it is used

        return RayExecutor(**self._options)

    def kill(self, executor: Executor) -> None:
        """End what runs."""
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
