"""Airflow's REST API: logins, requests, and errors of a server that does not answer.

The generated classes of apache-airflow-client write the requests. Its models of answers are not used: those of one
version reject the answers of another version of Airflow.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Iterable
from typing import Any

import urllib3
from airflow_client.client import ApiClient, Configuration
from airflow_client.client.api.dag_api import DAGApi
from airflow_client.client.api.dag_run_api import DagRunApi
from airflow_client.client.api.import_error_api import ImportErrorApi
from airflow_client.client.api.monitor_api import MonitorApi
from airflow_client.client.api.task_instance_api import TaskInstanceApi
from airflow_client.client.api.version_api import VersionApi
from airflow_client.client.models.dag_run_patch_body import DAGRunPatchBody
from airflow_client.client.models.dag_run_state import DagRunState
from airflow_client.client.models.dag_runs_batch_body import DAGRunsBatchBody
from airflow_client.client.models.trigger_dag_run_post_body import TriggerDAGRunPostBody

from amltk.exceptions import BatchSystemError
from amltk_airflow._messages import DAG_ID, TASK_ID

USERNAME, PASSWORD, TOKEN = "AMLTK_AIRFLOW_USERNAME", "AMLTK_AIRFLOW_PASSWORD", "AMLTK_AIRFLOW_TOKEN"

_CONNECT_SECONDS, _READ_SECONDS = 5.0, 10.0
_TIMEOUT = _CONNECT_SECONDS, _READ_SECONDS
_PAGE = 100
_LOG_LINES = 12
_FAILURES = range(500, 600)
_TOO_MANY = 429
_NOBODY = 401, 403


class UnreachableError(Exception):
    """The server does not answer, or reports that it can't: a later request may succeed."""


class Api:
    """One server, used by one user.

    Attributes:
        url: The server's URL.
    """

    def __init__(self, url: str, username: str | None = None) -> None:
        """Prepare requests; nothing is sent yet.

        Args:
            url: The server's URL.
            username: Used with the password of the environment; a token of the environment replaces both.
        """
        self.url = url.rstrip("/")
        self._username = username or os.environ.get(USERNAME, "")
        # The executor repeats requests: a repetition inside the client could not be interrupted.
        self._configuration = Configuration(host=self.url, retries=urllib3.Retry(False))
        self._configuration.access_token = os.environ.get(TOKEN) or None
        self._has_token = self._configuration.access_token is not None
        self._client = ApiClient(self._configuration)
        self._runs = DagRunApi(self._client)
        self._tasks = TaskInstanceApi(self._client)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.url!r})"

    def close(self) -> None:
        """Close all connections."""
        self._client.rest_client.pool_manager.clear()

    # Logins

    @property
    def user(self) -> str:
        """The user, as text for messages."""
        return f"the token of {TOKEN}" if self._has_token else f"user {self._username!r}"

    def log_in(self) -> None:
        """Get a token, unless there is one.

        Raises:
            BatchSystemError: The server refuses the user.
            UnreachableError: The server does not answer.
        """
        if self._has_token:
            return
        password = os.environ.get(PASSWORD)
        if not self._username or not password:
            msg = (
                f"There is no user for {self.url}: set {USERNAME} (or username=) and {PASSWORD}, or {TOKEN}, "
                "in the environment of this program."
            )
            raise BatchSystemError(msg)
        body = {"username": self._username, "password": password}
        url = f"{self.url}/auth/token"
        # This endpoint belongs to the manager of users, not to the API, so it has no generated class.
        status, answer = self._answer(
            lambda **_: self._client.rest_client.pool_manager.request(
                "POST", url, json=body, timeout=urllib3.Timeout(connect=_CONNECT_SECONDS, read=_READ_SECONDS)
            )
        )
        if status not in {200, 201} or not isinstance(answer, dict) or "access_token" not in answer:
            self._refused("POST /auth/token", status, answer)
        self._configuration.access_token = answer["access_token"]

    # Requests

    def version(self) -> str:
        """Return the version of Airflow."""
        answer = self._ask("GET /api/v2/version", VersionApi(self._client).get_version_without_preload_content)
        return str(answer.get("version", "of unknown version"))

    def dag(self) -> dict[str, Any] | None:
        """Return the server's description of the DAG; None if there is none."""
        ask = DAGApi(self._client).get_dag_without_preload_content
        answer: dict[str, Any] | None = self._ask(f"GET /api/v2/dags/{DAG_ID}", ask, DAG_ID, missing=None)
        return answer

    def import_errors(self) -> list[tuple[str, str]]:
        """Return the files with our DAG's name that can't be imported, each with the last line of the reason."""
        ask = ImportErrorApi(self._client).get_import_errors_without_preload_content
        answer = self._ask("GET /api/v2/importErrors", ask, limit=_PAGE)
        found = ((str(each.get("filename", "")), str(each.get("stack_trace", ""))) for each in answer["import_errors"])
        return [(name, text.strip().rpartition("\n")[2]) for name, text in found if "amltk" in name]

    def scheduler_health(self) -> tuple[bool, str]:
        """Return whether Airflow's scheduler is healthy, and Airflow's report on it."""
        answer = self._ask("GET /api/v2/monitor/health", MonitorApi(self._client).get_health_without_preload_content)
        scheduler = answer.get("scheduler") or {}
        report = f"scheduler {scheduler.get('status')}, latest heartbeat {scheduler.get('latest_scheduler_heartbeat')}"
        return scheduler.get("status") == "healthy", report

    def trigger(self, run_id: str, conf: dict[str, Any]) -> None:
        """Start a run of the DAG; a run that was started under this id before is left as it is."""
        body = TriggerDAGRunPostBody(dag_run_id=run_id, conf=conf, logical_date=None)
        what = f"POST /api/v2/dags/{DAG_ID}/dagRuns ({run_id})"
        # 409: an earlier request, whose answer was lost, has started it.
        self._ask(what, self._runs.trigger_dag_run_without_preload_content, DAG_ID, body, also_ok=409)

    def active_runs(self) -> set[str]:
        """Return the ids of all runs of the DAG that are queued or running, from any program."""
        found: set[str] = set()
        while True:
            body = DAGRunsBatchBody(
                dag_ids=[DAG_ID],
                states=[DagRunState.QUEUED, DagRunState.RUNNING],
                order_by="id",
                page_limit=_PAGE,
                page_offset=len(found),
            )
            ask = self._runs.get_list_dag_runs_batch_without_preload_content
            answer = self._ask("POST /api/v2/dags/~/dagRuns/list", ask, "~", body)
            page = {run["dag_run_id"] for run in answer["dag_runs"]}
            new = page - found
            found |= page
            if len(page) < _PAGE or not new:
                return found

    def run_state(self, run_id: str) -> str | None:
        """Return the state of a run; None if there is none."""
        what = f"GET /api/v2/dags/{DAG_ID}/dagRuns/{run_id}"
        run = self._ask(what, self._runs.get_dag_run_without_preload_content, DAG_ID, run_id, missing={"state": None})
        state: str | None = run["state"]
        return state

    def fail_run(self, run_id: str) -> None:
        """Mark a run as failed, so that Airflow ends its task; a missing or ended run is left as it is."""
        what = f"PATCH /api/v2/dags/{DAG_ID}/dagRuns/{run_id}"
        ask = self._runs.patch_dag_run_without_preload_content
        body = DAGRunPatchBody.model_validate({"state": "failed"})  # the name of the states' class varies
        self._ask(what, ask, DAG_ID, run_id, body, missing=None, also_ok=409)

    def task(self, run_id: str) -> dict[str, Any]:
        """Return Airflow's description of the task of a run."""
        what = f"GET /api/v2/dags/{DAG_ID}/dagRuns/{run_id}/taskInstances/{TASK_ID}"
        ask = self._tasks.get_task_instance_without_preload_content
        answer: dict[str, Any] = self._ask(what, ask, DAG_ID, run_id, TASK_ID, missing={})
        return answer

    def log_tail(self, run_id: str, try_number: int) -> str:
        """Return the end of the log of a run's task, as text."""
        what = f"GET /api/v2/dags/{DAG_ID}/dagRuns/{run_id}/taskInstances/{TASK_ID}/logs/{try_number}"
        ask = self._tasks.get_log_without_preload_content
        answer = self._ask(what, ask, DAG_ID, run_id, TASK_ID, try_number, missing={}, full_content=True)
        lines = [
            line for line in _lines(answer.get("content") or ()) if not line.startswith("::")
        ]  # marks for Airflow's pages
        return "\n".join(lines[-_LOG_LINES:])

    # Transport

    def _ask(
        self, what: str, ask: Callable[..., Any], *args: Any, missing: Any = ..., also_ok: int = 200, **options: Any
    ) -> Any:
        status, answer = self._answer(ask, *args, **options)
        # For the first request, and for an expired token, which some versions report as forbidden.
        if status in _NOBODY and not self._has_token:
            self.log_in()
            status, answer = self._answer(ask, *args, **options)
        if status == 404 and missing is not ...:
            return missing
        if status not in {200, 201, also_ok}:
            self._refused(what, status, answer)
        return answer

    def _answer(self, ask: Callable[..., Any], *args: Any, **options: Any) -> tuple[int, Any]:
        try:
            response = ask(*args, **options, _request_timeout=_TIMEOUT)
            data, status = response.data, response.status
        except urllib3.exceptions.HTTPError as error:
            msg = f"{type(error).__name__}: {_without_objects(error)}"
            raise UnreachableError(msg) from error
        if status in _FAILURES or status == _TOO_MANY:
            msg = f"HTTP {status}: {data.decode(errors='replace')[:200]}"
            raise UnreachableError(msg)
        with contextlib.suppress(ValueError):
            return status, json.loads(data)
        return status, data.decode(errors="replace")

    def _refused(self, what: str, status: int, answer: Any) -> None:
        detail = answer.get("detail", answer) if isinstance(answer, dict) else answer
        output = f"HTTP {status}: {detail if isinstance(detail, str) else json.dumps(detail)}"[:1000]
        mend = ""
        if status in _NOBODY:
            mend = f" Check {TOKEN}." if self._has_token else f" Check {USERNAME} (or username=) and {PASSWORD}."
        msg = f"Airflow at {self.url} refuses {self.user}: {what}: {output}.{mend}"
        raise BatchSystemError(msg, command=f"{what} at {self.url}", output=output)


def _lines(content: Iterable[Any] | str) -> Iterable[str]:
    """Yield the lines of a log, whose format depends on Airflow's version."""
    if isinstance(content, str):
        yield from content.splitlines()
        return
    for each in content:
        if isinstance(each, str):
            yield from each.splitlines()
            continue
        yield str(each.get("event", ""))
        for error in each.get("error_detail") or ():
            yield f"    {error.get('exc_type')}: {error.get('exc_value')}"


def _without_objects(error: Exception) -> str:
    """Return the text of an error of urllib3 without the address of the connection object in front."""
    return str(error).rpartition("object at ")[2].partition(">: ")[2] or str(error)
