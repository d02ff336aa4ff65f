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
        """Run each call as a run of a DAG of Airflow 3, which its pages show.

        `amltk airflow install-dag DIR` puts that DAG into Airflow's folder of DAGs. Starting a task takes Airflow a
        second or so: this is for calls that take minutes. Functions and classes of `__main__`, lambdas and closures
        work. No secret is an option, since options are shown: the password, or a token, and the key are taken from
        the environment, `AMLTK_AIRFLOW_PASSWORD`, `AMLTK_AIRFLOW_TOKEN` and `AMLTK_AIRFLOW_KEY`.

        Args:
            url: Of Airflow's api-server, as in "https://airflow.example.org".
            store: A URL under which this program and Airflow's workers see the same folder or bucket, as in
                "file:///shared/amltk" or "s3://bucket/amltk". Calls and results lie there while they are needed.
            username: Who asks; `AMLTK_AIRFLOW_USERNAME` by default.
            key_file: The file with the key that workers have, too; by default that of `AMLTK_AIRFLOW_KEY_FILE`, or
                the key is that of `AMLTK_AIRFLOW_KEY`.
            max_workers: How many runs are active at most; how many of them run, Airflow decides by its slots.
            interval: How often the store and Airflow are looked at, in seconds.
            lease: After so many seconds without a sign of life from this program, calls end themselves.
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
        from amltk_airflow._opening import Place  # Airflow's client is imported when it is used

        return Place(*self._place).open(*self._how)

    def kill(self, executor: Executor) -> None:
        """End what runs."""
        cast("AirflowExecutor", executor).kill_workers()

    def health_checks(self) -> Iterable[HealthCheck]:
        """Return what has to be right before calls can run, one thing after the other."""
        from amltk_airflow._opening import health_checks

        return health_checks(*self._place)
