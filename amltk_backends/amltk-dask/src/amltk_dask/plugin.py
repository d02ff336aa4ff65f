"""Registers the backend `dask`."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor
from numbers import Real
from typing import TYPE_CHECKING, Any, cast

from amltk.backend import Backend, Capabilities
from amltk.calls import describe_option
from amltk.checks import check_heartbeat, check_int, check_not_patched, check_type, did_you_mean
from amltk.hookspecs import hookimpl
from amltk_dask.tls import check_security

if TYPE_CHECKING:
    from amltk_dask.executor import DaskExecutor

AMLTK_CONTRACT = 1


def dask(
    n_workers: int | None = None,
    *,
    address: str | None = None,
    client: Any = None,
    allowed_failures: int = 0,
    heartbeat_timeout: float | None = None,
    security: Any = None,
    **options: Any,
) -> Executor:
    """Run calls with dask: in a cluster of this machine that is made for the run, or in one that exists.

    Functions and classes of `__main__`, lambdas and closures work, without `if __name__ == "__main__"`.
    A worker that dies takes only the calls with it that it ran; none of them is run again unless
    `allowed_failures` says so.

    Args:
        n_workers: How many worker processes a cluster of this machine has; by default one for each
            processor. Each runs one call at a time, unless `threads_per_worker` says otherwise.
        address: Of the scheduler of a cluster that exists, as in "tcp://10.0.0.1:8786". It stays as it is.
        client: A `distributed.Client` of a cluster that exists, instead. It stays open.
        allowed_failures: How often a call is run again whose worker died. dask's own default is 3.
        heartbeat_timeout: After so many seconds without a sign of life from a worker, its calls fail with
            `WorkerLost`, and it is ended where that can be done. None: they are waited for.
        security: By default a cluster that is made speaks TLS, with a certificate of its own, and refuses everybody
            who does not have it; False for plain TCP. With `address`, the `distributed.Security` of that cluster.
        options: What else `distributed.LocalCluster` takes: `threads_per_worker`, `memory_limit`,
            `env`, `local_directory`, `dashboard_address` (by default there is no dashboard) and others.
    """
    check_not_patched("with_dask", "threading", "select")
    if address is not None or client is not None:
        from amltk_dask._existing import open_existing

        return open_existing(
            address,
            client,
            security=security or None,
            allowed_failures=allowed_failures,
            heartbeat_timeout=heartbeat_timeout,
        )
    from amltk_dask._local import open_local  # dask is imported when it is used

    return open_local(
        n_workers=n_workers,
        allowed_failures=allowed_failures,
        heartbeat_timeout=heartbeat_timeout,
        security=security,
        **options,
    )


_OURS = {"worker_class", "processes", "asynchronous", "loop", "start", "ip"}


def _check(
    n_workers: int | None = None,
    *,
    address: str | None = None,
    client: Any = None,
    allowed_failures: int = 0,
    heartbeat_timeout: float | None = None,
    security: Any = None,
    **options: Any,
) -> None:
    check_int("n_workers", n_workers, at_least=1, or_none=True)
    check_int("allowed_failures", allowed_failures, at_least=0)
    check_heartbeat("heartbeat_timeout", heartbeat_timeout)
    if address is not None:
        check_type("address", address, str)
    if address is not None and client is not None:
        msg = f"A cluster is given by address= or by client=, not by both; got {address!r} and {client!r}."
        raise TypeError(msg)
    if client is not None:
        from distributed import Client

        check_type("client", client, Client)
    if address is not None or client is not None:
        given = [*(["n_workers"] if n_workers is not None else []), *options]
        if given:
            msg = f"{given[0]}= is for a cluster that is made for the run, not for one that exists: leave it out."
            raise TypeError(msg)
        if security is not None and client is not None:
            msg = f"security= is that of the client, which has it already: leave it out; got {security!r}."
            raise TypeError(msg)
        if security is True:
            msg = "security=True is a new certificate, which a cluster that exists does not know; pass its Security."
            raise ValueError(msg)
    elif options:
        check_int("threads_per_worker", options.get("threads_per_worker"), at_least=1, or_none=True)
        limit = options.get("memory_limit")
        if limit is not None and (isinstance(limit, bool) or not isinstance(limit, str | Real)):
            got = describe_option("memory_limit", limit)
            msg = f"memory_limit must be bytes, a text such as '4 GB', a part of 1, or None, got {got}."
            raise TypeError(msg)
        _check_options(options)
    check_security(security, options.get("protocol"), options.get("host"))


def _check_options(options: dict[str, Any]) -> None:
    import inspect

    from distributed import LocalCluster, Worker

    takers = (inspect.signature(taker).parameters.values() for taker in (LocalCluster, Worker, dask))
    known = {each.name for taken in takers for each in taken if each.kind is not each.VAR_KEYWORD} | {"env"}
    for name in options:
        if name in _OURS:
            msg = f"with_dask sets {name}= itself. For such a cluster: make it, and pass client=cluster.get_client()."
            raise TypeError(msg)
        if name not in known:
            msg = f"with_dask has no option {name!r}, nor has dask's LocalCluster.{did_you_mean(name, sorted(known))}"
            raise TypeError(msg)


def _kill(executor: Executor) -> None:
    cast("DaskExecutor", executor).kill_workers()


@hookimpl
def amltk_register_backends(register: Callable[[Backend], None]) -> None:
    """Register the backend `dask`."""
    register(
        Backend(
            name="dask",
            summary="Workers of dask: a cluster of this machine, or one that exists already.",
            create=dask,
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
