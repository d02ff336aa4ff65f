"""The connection to Ray. A program has one at a time, which several executors share.

The first executor opens it, the last one closes it. An existing connection of the program is used, and stays open.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import logging
import os
import signal
import socket
import threading
import warnings
from collections.abc import Iterator, Mapping
from types import ModuleType
from typing import Any

import ray
from ray._private import ray_constants, services
from ray._private import worker as ray_worker

from amltk.cpus import cpu_count
from amltk.exceptions import NotSupportedError
from amltk_ray._local import LocalCluster

Needs = Mapping[str, float]
"""The resources that a call needs, by Ray's names: CPU, GPU, memory and others."""

_lock = threading.Lock()

_ANSWER = 10.0

_VARIABLES = ("PYTHONBREAKPOINT", "RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_task_events_report_interval_ms")


class Connection:
    """A connection to a cluster.

    Attributes:
        asked: The requested address; None for a cluster of our own.
        local: The cluster, if it is our own.
        ours: Whether this module has opened the connection, and so closes it.
        job_env: The `runtime_env` of calls that set none.
        users: The number of executors that use the connection.
    """

    current: Connection | None = None

    def __init__(self, asked: str | None, local: LocalCluster | None, *, ours: bool, job_env: Any) -> None:
        """Record an open connection."""
        self.asked = asked
        self.local = local
        self.ours = ours
        self.job_env = job_env
        self.users = 1
        self._silenced = contextlib.ExitStack()
        if local is not None:
            # With log_to_driver=False, Ray still prints the deaths of workers, which amltk reports itself.
            self._silenced.enter_context(_replaced(ray_worker, "print_to_stdstream", lambda *_, **__: None))

    def slots(self, needs: Needs) -> int:
        """Return how many calls with these needs can run at the same time on the nodes that are alive."""
        wanted = {name: amount for name, amount in needs.items() if amount} or {"CPU": 1}
        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        return sum(min(int(node.get(name, 0) / amount + 1e-9) for name, amount in wanted.items()) for node in nodes)

    def close(self) -> None:
        """Release the connection; the last user closes it, and ends our own cluster."""
        with _lock:
            self.users -= 1
            if self.users:
                return
            Connection.current = None
            if self.local is not None:
                self.local.end_head()
            if self.ours:
                ray.shutdown()
                _let_go_of_subscribers()
                self._silenced.close()
            if self.local is not None:
                self.local.close()
            if self.ours:
                _read_environment_anew()


def connect(address: str | None, needs: Needs, calls: int | None, runtime_env: Mapping[str, Any] | None) -> Connection:
    """Return the existing connection, or a new one.

    Args:
        address: The address of an existing cluster; None for the program's own connection, or else a new cluster.
        needs: The resources that a call needs.
        calls: The least number of calls that a new cluster can run at the same time.
        runtime_env: The `runtime_env` of calls.

    Raises:
        NotSupportedError: The program is connected to another cluster.
        ConnectionError: No cluster answers at the address.
        RuntimeError: Ray did not start.
    """
    with _lock:
        _keep_engine()
        current = Connection.current
        if current is not None:
            if current.asked != address:
                there = f"to {current.asked}" if current.asked else "to a cluster of this machine, made for a run"
                msg = (
                    f"This program is connected {there}. A connection to {address or 'a cluster of its own'} is not "
                    "possible: Ray has one at a time in a program. Let the other run end first, or use two programs."
                )
                raise NotSupportedError(msg)
            current.users += 1
            return current
        if ray.is_initialized():
            there = ray.get_runtime_context().gcs_address
            if address not in {None, there}:
                msg = (
                    f"This program is connected to {there} by ray.init(). A connection to {address} is not possible: "
                    "Ray has one at a time in a program. Omit address= to use that one, or call ray.shutdown() first."
                )
                raise NotSupportedError(msg)
            opened = Connection(address, None, ours=False, job_env=None)
        elif address is not None:
            _check_that_somebody_answers(address)
            with _left_as_it_was():
                _check_token(address)
                ray.init(address, runtime_env=runtime_env, log_to_driver=False, logging_level=logging.ERROR)
            opened = Connection(address, None, ours=True, job_env=runtime_env)
        else:
            opened = _open_local(needs, calls, runtime_env)
        Connection.current = opened
        return opened


def _check_that_somebody_answers(address: str) -> None:
    host, _, port = address.rpartition(":")
    if not host:  # "auto"
        return
    try:
        socket.create_connection((host, int(port)), timeout=_ANSWER).close()
    except OSError as error:  # Ray would retry for minutes
        msg = f"No cluster of Ray answers at {address}: {error}. `ray start --head` prints the address."
        raise ConnectionError(msg) from error


def _check_token(address: str) -> None:
    """Check that the program has the token that a cluster requires; Ray would retry for minutes without a reason.

    If no variable configures tokens, and a file has one, that token is used.
    """
    refusal = getattr(ray.exceptions, "AuthenticationError", None)
    if refusal is None:  # Ray before 2.52 has no tokens
        return
    _raylet: Any = importlib.import_module("ray._raylet")  # compiled, without types
    if address == "auto":
        found = services.find_gcs_addresses()
        if len(found) != 1:
            return
        (address,) = found

    def refused() -> bool:
        try:
            _raylet.GcsClient(address=address)
        except refusal:
            return True
        except Exception:  # `ray.init` reports it
            return False
        return False

    if not refused():
        return
    has_one = _raylet.AuthenticationTokenLoader.instance().has_token(ignore_auth_mode=True)
    if has_one and os.environ.get("RAY_AUTH_MODE") is None:
        os.environ["RAY_AUTH_MODE"] = "token"
        _read_environment_anew()
        if not refused():
            return
    here = "this program has another one" if has_one else "there is none here"
    msg = (
        f"The cluster of Ray at {address} asks for a token, and {here}. Set RAY_AUTH_MODE=token and "
        "RAY_AUTH_TOKEN_PATH, the path of a file with it, in the environment of this program. On the head, the token "
        "is in ~/.ray/auth_token, and `ray get-auth-token` prints it."
    )
    raise ConnectionError(msg)


def _open_local(needs: Needs, calls: int | None, runtime_env: Mapping[str, Any] | None) -> Connection:
    processors = cpu_count()
    cpus = max(processors, needs["CPU"] * (calls or 1))
    room = calls or (int(cpus / needs["CPU"] + 1e-9) if needs["CPU"] else processors)
    others = {name: amount * room for name, amount in needs.items() if name not in {"CPU", "GPU", "memory"}}
    local = LocalCluster(cpus, others)
    job_env = local.runtime_env(runtime_env)
    try:
        with _left_as_it_was(), _loopback():
            os.environ.update(local.environment)
            _read_environment_anew()
            ray.init(local.address, runtime_env=job_env, log_to_driver=False, logging_level=logging.ERROR)
    except BaseException:
        local.close()
        raise
    return Connection(None, local, ours=True, job_env=runtime_env)


@functools.cache
def _keep_engine() -> object:
    """Keep the engine that carries connections, for good: otherwise it ends in the background after the last of them.

    One connection keeps it, which is never opened.
    """
    _raylet: Any = importlib.import_module("ray._raylet")  # compiled, without types
    return _raylet.GcsErrorSubscriber(worker_id=b"", address="127.0.0.1:9")


def _let_go_of_subscribers() -> None:
    """Close the connections that Ray forgets: they would try forever to reach a cluster that is gone."""
    for name in ("gcs_error_subscriber", "gcs_log_subscriber"):
        vars(ray_worker.global_worker).pop(name, None)


def _loopback() -> contextlib.AbstractContextManager[object]:
    """Make Ray use 127.0.0.1 as it is, instead of the machine's address in its network."""
    return _replaced(ray_constants, "ENABLE_RAY_CLUSTER", value=False)


@contextlib.contextmanager
def _replaced(module: ModuleType, name: str, value: object) -> Iterator[None]:
    before = getattr(module, name)
    setattr(module, name, value)
    try:
        yield
    finally:
        setattr(module, name, before)


def _read_environment_anew() -> None:
    """Make Ray read again whether to use a token, and which; it reads this only once by itself."""
    _raylet: Any = importlib.import_module("ray._raylet")  # compiled, without types
    _raylet.Config.initialize("")
    with contextlib.suppress(AttributeError):  # Ray before 2.52 has no tokens
        _raylet.AuthenticationTokenLoader.instance().reset_cache()


@contextlib.contextmanager
def _left_as_it_was() -> Iterator[None]:
    """Undo the changes of `ray.init` to the program: its SIGTERM handler, logger and environment."""
    logger = logging.getLogger("ray")
    level, propagate, handlers = logger.level, logger.propagate, list(logger.handlers)
    environment = {name: os.environ.get(name) for name in _VARIABLES}
    handler = signal.getsignal(signal.SIGTERM)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # Ray before 2.52 warns of its own settings
            yield
    finally:
        if threading.current_thread() is threading.main_thread():  # in other threads, Ray does not change it
            signal.signal(signal.SIGTERM, handler)
        logger.setLevel(level)
        logger.propagate = propagate
        logger.handlers[:] = handlers
        for name, value in environment.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
