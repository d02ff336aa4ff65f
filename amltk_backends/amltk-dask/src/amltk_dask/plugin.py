"""The backend `dask`."""

from __future__ import annotations

from concurrent.futures import Executor
from typing import TYPE_CHECKING, Any, ClassVar, cast

from amltk.backend import Backend, Capabilities
from amltk.checks import check_heartbeat, check_int, check_not_patched, check_text, check_type, did_you_mean
from amltk.describe import describe_option, describe_value
from amltk_dask.option_checks import check_dask_options
from amltk_dask.tls import check_security

if TYPE_CHECKING:
    from amltk_dask.executor import DaskExecutor

AMLTK_CONTRACT = 1


class Dask(Backend):
    """The backend `dask`."""

    name: ClassVar[str] = "dask"
    summary: ClassVar[str] = "Workers of dask: a cluster of this machine, or one that exists already."
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
        n_workers: int | None = None,
        *,
        address: str | None = None,
        client: Any = None,
        allowed_failures: int = 0,
        heartbeat_timeout: float | None = None,
        security: Any = None,
        **options: Any,
    ) -> None:
        """Run calls with dask: in a cluster of this machine that is made for the run, or in an existing one.

        Functions and classes of `__main__`, lambdas and closures work, without `if __name__ == "__main__"`.
        A dead worker affects only the calls that it ran. They run again only with `allowed_failures`.

        Args:
            n_workers: How many worker processes the new cluster has; by default one for each processor. Each runs one
                call at a time, unless `threads_per_worker` is set.
            address: The scheduler's address in an existing cluster, as in "tcp://10.0.0.1:8786". The cluster stays as
                it is.
            client: A `distributed.Client` of an existing cluster, instead. It stays open.
            allowed_failures: How often to run a call again whose worker died. dask's own default is 3.
            heartbeat_timeout: Seconds without a sign of life from a worker before its calls fail with `WorkerLost`. The
                worker is then ended where possible. None: no limit.
            security: By default a new cluster uses TLS, with a certificate of its own, and refuses everybody without
                it; False for plain TCP. With `address`, the `distributed.Security` of that cluster.
            options: More options of `distributed.LocalCluster`: `threads_per_worker`, `memory_limit`, `env`,
                `local_directory`, `dashboard_address` (by default there is no dashboard) and others.
        """
        check_int("n_workers", n_workers, at_least=1, or_none=True)
        check_int("allowed_failures", allowed_failures, at_least=0)
        check_heartbeat("heartbeat_timeout", heartbeat_timeout)
        check_text("address", address, or_none=True, empty=False)
        if address is not None and client is not None:
            got = f"{describe_option('address', address)} and {describe_value(client)}"
            msg = f"A cluster is given by address= or by client=, not by both; got {got}."
            raise TypeError(msg)
        if client is not None:
            from distributed import Client

            check_type("client", client, Client)
        if address is not None or client is not None:
            given = [*(["n_workers"] if n_workers is not None else []), *options]
            if given:
                msg = f"{given[0]}= is for a new cluster, not for an existing one: leave it out."
                raise TypeError(msg)
            if security is not None and client is not None:
                msg = "security= belongs to the client, which has it already: leave it out."
                raise TypeError(msg)
            if security is True:
                msg = (
                    "security=True makes a new certificate, which an existing cluster does not have; pass its Security."
                )
                raise ValueError(msg)
        elif options:
            _check_names(options)
            check_dask_options(options)
        check_security(security, options.get("protocol"), options.get("host"))
        self._n_workers = n_workers
        self._address = address
        self._client = client
        self._allowed_failures = allowed_failures
        self._heartbeat_timeout = heartbeat_timeout
        self._security = security
        self._more = options

    def open(self) -> Executor:
        """Return the executor of a run."""
        check_not_patched("with_dask", "threading", "select")
        if self._address is not None or self._client is not None:
            from amltk_dask._existing import open_existing

            return open_existing(
                self._address,
                self._client,
                security=self._security or None,
                allowed_failures=self._allowed_failures,
                heartbeat_timeout=self._heartbeat_timeout,
            )
        from amltk_dask._local import open_local  # dask is imported when it is used

        return open_local(
            n_workers=self._n_workers,
            allowed_failures=self._allowed_failures,
            heartbeat_timeout=self._heartbeat_timeout,
            security=self._security,
            **self._more,
        )

    def kill(self, executor: Executor) -> None:
        """End all running work."""
        cast("DaskExecutor", executor).kill_workers()


_OURS = {"worker_class", "processes", "asynchronous", "loop", "start", "ip", "scheduler_ip", "nanny"}


def _check_names(options: dict[str, Any]) -> None:
    import inspect

    from distributed import LocalCluster, Worker

    takers = (inspect.signature(taker).parameters.values() for taker in (LocalCluster, Worker, Dask))
    known = {each.name for taken in takers for each in taken if each.kind is not each.VAR_KEYWORD} | {"env"}
    for name in options:
        if name in _OURS:
            msg = f"with_dask sets {name}= itself. For such a cluster: make it, and pass client=cluster.get_client()."
            raise TypeError(msg)
        if name not in known:
            msg = f"with_dask has no option {name!r}, nor has dask's LocalCluster.{did_you_mean(name, sorted(known))}"
            raise TypeError(msg)
