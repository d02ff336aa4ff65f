"""The connection to Ray, of which a program has one at a time: several executors share it.

The first executor opens it, the last one closes it. If the program is connected already, that is used, and stays.
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
"""What a call needs, by the name that Ray has for it: CPU, GPU, memory and others."""

_lock = threading.Lock()

_ANSWER = 10.0

_VARIABLES = ("PYTHONBREAKPOINT", "RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_task_events_report_interval_ms")


class Connection:
    """To a cluster.

    Attributes:
        asked: The address that was asked for; None for a cluster of our own.
        local: That, if it is one.
        ours: Whether we have opened it, and so close it.
        job_env: The `runtime_env` that calls have which name none.
        users: How many executors use it.
    """

    current: Connection | None = None

    def __init__(self, asked: str | None, local: LocalCluster | None, *, ours: bool, job_env: Any) -> None:
        """Note what was opened."""
        self.asked = asked
        self.local = local
        self.ours = ours
        self.job_env = job_env
        self.users = 1
        self._silenced = contextlib.ExitStack()
        if local is not None:
            # With log_to_driver=False, all that Ray would still print is the deaths of workers, of which we tell.
            self._silenced.enter_context(_replaced(ray_worker, "print_to_stdstream", lambda *_, **__: None))

    def slots(self, needs: Needs) -> int:
        """Return how many calls that need so much have room at the same time in the nodes that there are."""
        wanted = {name: amount for name, amount in needs.items() if amount} or {"CPU": 1}
        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        return sum(min(int(node.get(name, 0) / amount + 1e-9) for name, amount in wanted.items()) for node in nodes)

    def close(self) -> None:
        """Let go of it; the last one who does closes it, and ends the cluster if it was made for this."""
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
    """Return a connection: that which there is, or a new one.

    Args:
        address: Of a cluster that exists; None for one of our own, or what the program is connected to.
        needs: What a call needs.
        calls: How many calls a cluster of our own has room for at least.
        runtime_env: That of calls.

    Raises:
        NotSupportedError: The program is connected to another cluster.
        ConnectionError: There is no cluster at the address.
        RuntimeError: Ray did not start.
    """
    with _lock:
        _keep_engine()
        current = Connection.current
        if current is not None:
            if current.asked != address:
                there = f"to {current.asked}" if current.asked else "to a cluster of this machine, made for a run"
                msg = (
                    f"This program is connected {there}, and a connection to {address or 'a cluster of its own'} was "
                    "asked for: Ray has one at a time in a program. Let the other run end first, or use two programs."
                )
                raise NotSupportedError(msg)
            current.users += 1
            return current
        if ray.is_initialized():
            there = ray.get_runtime_context().gcs_address
            if address not in {None, there}:
                msg = (
                    f"This program is connected to {there} by ray.init(), and a connection to {address} was asked for: "
                    "Ray has one at a time in a program. Leave address= out to use that, or call ray.shutdown() first."
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
    except OSError as error:  # Ray would try for minutes
        msg = f"No cluster of Ray answers at {address}: {error}. `ray start --head` prints the address."
        raise ConnectionError(msg) from error


def _check_token(address: str) -> None:
    """Refuse a cluster that asks for a token which is not here; Ray would try for minutes, and not say why.

    Where no variable says whether there are tokens, and a file has one, that is used.
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
        except Exception:  # `ray.init` tells of it
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
    here = "the one that this program has is not it" if has_one else "there is none here"
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
    """Keep what carries connections, for good: it would end with the last of them, at some time, in the background.

    For that it takes one, which is never opened.
    """
    _raylet: Any = importlib.import_module("ray._raylet")  # compiled, without types
    return _raylet.GcsErrorSubscriber(worker_id=b"", address="127.0.0.1:9")


def _let_go_of_subscribers() -> None:
    """Close the connections that Ray forgets: they would try for ever to reach a cluster that is gone."""
    for name in ("gcs_error_subscriber", "gcs_log_subscriber"):
        vars(ray_worker.global_worker).pop(name, None)


def _loopback() -> contextlib.AbstractContextManager[object]:
    """Have Ray take 127.0.0.1 for what it is; it would take it for the machine's address in its network."""
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
    """Have Ray look which token to use, if any; it does so once."""
    _raylet: Any = importlib.import_module("ray._raylet")  # compiled, without types
    _raylet.Config.initialize("")
    with contextlib.suppress(AttributeError):  # Ray before 2.52 has no tokens
        _raylet.AuthenticationTokenLoader.instance().reset_cache()


@contextlib.contextmanager
def _left_as_it_was() -> Iterator[None]:
    """Undo what `ray.init` does to the program: its handler of SIGTERM, logger and environment."""
    logger = logging.getLogger("ray")
    level, propagate, handlers = logger.level, logger.propagate, list(logger.handlers)
    environment = {name: os.environ.get(name) for name in _VARIABLES}
    handler = signal.getsignal(signal.SIGTERM)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # in Ray before 2.52, of what users here can't change
            yield
    finally:
        if threading.current_thread() is threading.main_thread():  # elsewhere, Ray leaves it alone, too
            signal.signal(signal.SIGTERM, handler)
        logger.setLevel(level)
        logger.propagate = propagate
        logger.handlers[:] = handlers
        for name, value in environment.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
