"""The checks before calls can run, and the executor that is made when they pass.

Each check returns a line on what it found, or raises an error with its fix. The doctor makes them one by one; a run
makes all of them before it starts.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Iterator

from amltk.backend import HealthCheck
from amltk.exceptions import BatchSystemError
from amltk_airflow import _messages
from amltk_airflow._api import Api, UnreachableError
from amltk_airflow._signing import Key, read_key
from amltk_airflow._store import Store
from amltk_airflow.executor import AirflowExecutor

_log = logging.getLogger("amltk_airflow")

_CALL_SECONDS = 3600.0
_LEAST_INTERVAL = 0.5


class Place:
    """A server, a store and a key that belong together."""

    def __init__(self, url: str, store: str, username: str | None, key_file: str | None) -> None:
        """Prepare them; nothing is sent yet.

        Raises:
            ValueError: There is no key.
            NotSupportedError: A library that the store needs is not installed.
        """
        self.key: Key = read_key(key_file)
        self.store = Store(store)
        self.api = Api(url, username)

    def open(self, max_workers: int, interval: float, lease: float) -> AirflowExecutor:
        """Return an executor, if all checks pass.

        Raises:
            BatchSystemError: Airflow does not answer, refuses the user, or can't run the DAG.
            OSError: The store can't be written.
        """
        try:
            self.server()
            self.login()
            self.dag()
            healthy, report = self.api.scheduler_health()
            self.writable()
        except BaseException as error:
            self.api.close()
            if isinstance(error, UnreachableError):
                raise self._unreachable(error) from error
            raise
        if not healthy:
            _log.warning(
                "Airflow at %s reports: %s. Calls wait until it runs: airflow scheduler", self.api.url, report
            )  # fmt: skip
        return self.executor(max_workers, interval, lease)

    def executor(self, max_workers: int, interval: float, lease: float) -> AirflowExecutor:
        """Return an executor without checks."""
        return AirflowExecutor(
            self.api, self.store, self.key, max_workers=max_workers, interval=interval, lease=lease
        )  # fmt: skip

    def server(self) -> str:
        """Check that Airflow answers."""
        try:
            return f"Airflow {self.api.version()} at {self.api.url}"
        except UnreachableError as error:
            raise self._unreachable(error) from error

    def login(self) -> str:
        """Check that Airflow accepts the user."""
        self.api.log_in()
        self.api.dag()
        return self.api.user

    def dag(self) -> str:
        """Check that Airflow has the DAG, and would run it."""
        install = "amltk airflow install-dag DAGS_FOLDER"
        for filename, reason in self.api.import_errors():
            msg = f"Airflow can't import {filename}: {reason}. Its workers need amltk-airflow; then: {install}"
            raise BatchSystemError(msg, output=reason)
        dag = self.api.dag()
        if dag is None or dag.get("is_stale"):
            msg = (
                f"Airflow at {self.api.url} has no DAG {_messages.DAG_ID!r}. Put it there, on its machine: {install}. "
                "Airflow finds it within minutes, or at once with: airflow dags reserialize"
            )
            raise BatchSystemError(msg)
        if dag.get("is_paused"):
            msg = f"The DAG is paused, so no call would run. Resume it: airflow dags unpause {_messages.DAG_ID}"
            raise BatchSystemError(msg)
        return f"{_messages.DAG_ID}, in {dag.get('relative_fileloc') or dag.get('fileloc')}"

    def scheduler(self) -> str:
        """Check that Airflow's scheduler is alive."""
        healthy, report = self.api.scheduler_health()
        if not healthy:
            msg = f"Airflow reports: {report}. Start it: airflow scheduler"
            raise BatchSystemError(msg, output=report)
        return report

    def writable(self) -> str:
        """Check that the store can be written, read, and cleaned up."""
        folder, content = self.store.within(f"amltk-{uuid.uuid4().hex[:12]}"), b"try"
        folder.make()
        try:
            folder.write("try", content)
            if "try" not in folder.names() or folder.read("try") != content:
                msg = f"Data written to {folder.url} can't be read back."
                raise BatchSystemError(msg)
        finally:
            folder.remove_all()
        return f"{self.store.url} can be written and read"

    def worker(self) -> str:
        """Check that a worker runs a call: it sees the store, and has the key and the same versions."""
        where = f"{self.api.url}/dags/{_messages.DAG_ID}"
        print(f"a run of the DAG waits for a free slot; {where} shows it")  # noqa: T201 - the doctor shows it
        with Place.executor(self, 1, _LEAST_INTERVAL, 30.0) as executor:
            try:
                return str(executor.submit(_report_from_worker).result(_CALL_SECONDS))
            except BaseException:
                executor.kill_workers()
                raise

    def _unreachable(self, error: UnreachableError) -> BatchSystemError:
        msg = f"Airflow does not answer at {self.api.url}: {error}. Is that the URL of its api-server?"
        return BatchSystemError(msg, output=str(error))


def _report_from_worker() -> str:
    from amltk_airflow._messages import Begun, versions

    found = ", ".join(f"{name} {version}" for name, version in versions().items())
    return f"{Begun.here()}: it sees the store and has the key; {found}"


def health_checks(url: str, store: str, username: str | None, key_file: str | None) -> Iterator[HealthCheck]:
    """Yield the checks of the doctor."""
    made: list[Place] = []

    def place() -> Place:
        if not made:
            made.append(Place(url, store, username, key_file))
        return made[0]

    def worker() -> str:
        return Place(url, store, username, key_file).worker()

    try:
        yield HealthCheck("server", lambda: place().server())
        yield HealthCheck("login", lambda: place().login())
        yield HealthCheck("dag", lambda: place().dag())
        yield HealthCheck("scheduler", lambda: place().scheduler())
        yield HealthCheck("store", lambda: place().writable())
        yield HealthCheck("worker", worker, runs=True)
    finally:
        for each in made:
            each.api.close()
