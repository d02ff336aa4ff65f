"""The backend `airflow`."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import Executor
from typing import TYPE_CHECKING, ClassVar, cast

from amltk.backend import Backend, Capabilities, HealthCheck
from amltk.checks import check_heartbeat, check_int, check_seconds, check_text
from amltk.describe import describe_option

if TYPE_CHECKING:
    from amltk_airflow.executor import AirflowExecutor

AMLTK_CONTRACT = 1


class Airflow(Backend):
    """The backend `airflow`."""

    name: ClassVar[str] = "airflow"
    summary: ClassVar[str] = (
        "Runs of a DAG of Airflow 3: for calls of minutes that its pages show; each takes a second more."
    )
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
        url: str,
        store: str,
        *,
        username: str | None = None,
        key_file: str | None = None,
        max_workers: int = 16,
        interval: float = 1.0,
        lease: float = 30.0,
    ) -> None:
        """Run each call as a run of a DAG of Airflow 3, which Airflow's pages show.

        `amltk airflow install-dag DIR` puts that DAG into Airflow's folder of DAGs. Airflow takes about a second to
        start a task: use this backend for calls that take minutes. Functions and classes of `__main__`, lambdas and
        closures work. Options are shown, so no secret is one: the environment has the password, or a token, and the
        key, in `AMLTK_AIRFLOW_PASSWORD`, `AMLTK_AIRFLOW_TOKEN` and `AMLTK_AIRFLOW_KEY`.

        Args:
            url: The URL of Airflow's api-server, as in "https://airflow.example.org".
            store: A URL under which this program and Airflow's workers have access to the same folder or bucket, as in
                "file:///shared/amltk" or "s3://bucket/amltk". It holds calls and results while they are needed.
            username: The user; by default that of `AMLTK_AIRFLOW_USERNAME`.
            key_file: The file with the key that workers have, too; by default that of `AMLTK_AIRFLOW_KEY_FILE`, or the
                key in `AMLTK_AIRFLOW_KEY`.
            max_workers: Maximum number of active runs; Airflow's slots limit how many of them run.
            interval: Seconds between looks at the store and at Airflow.
            lease: Seconds without a sign of life from this program after which calls end themselves.
        """
        from amltk_airflow._urls import check_no_credentials, check_store

        check_text("url", url)
        if not url.startswith(("http://", "https://")):
            msg = (
                f"url must be that of Airflow's api-server, as in 'http://localhost:8080', "
                f"got {describe_option('url', url)}."
            )
            raise ValueError(msg)
        check_no_credentials(
            "url", url, "Give username=, and the password in the environment variable AMLTK_AIRFLOW_PASSWORD."
        )
        check_text("store", store)
        check_text("username", username, or_none=True, empty=False)
        check_text("key_file", key_file, or_none=True, empty=False)
        check_int("max_workers", max_workers, at_least=1)
        check_seconds("interval", interval, zero=False)
        check_seconds("lease", lease, zero=False)
        check_heartbeat("lease", lease)
        from amltk_airflow._signing import read_key

        check_store(store)
        read_key(key_file)
        self._place = (url, store, username, key_file)
        self._how = (int(max_workers), float(interval), float(lease))

    def open(self) -> Executor:
        """Return the executor of a run."""
        from amltk_airflow._opening import Place  # Airflow's client is imported on use

        return Place(*self._place).open(*self._how)

    def kill(self, executor: Executor) -> None:
        """End all running work."""
        cast("AirflowExecutor", executor).kill_workers()

    def health_checks(self) -> Iterable[HealthCheck]:
        """Return the checks of the doctor, in their order."""
        from amltk_airflow._opening import health_checks

        return health_checks(*self._place)
