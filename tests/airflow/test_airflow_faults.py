"""Faults on a real Airflow: those of the fault suite that are about workers, and Airflow's own."""

from __future__ import annotations

import json
import logging
import os
import pickle
import threading
import urllib.request
from collections import Counter
from pathlib import Path
from typing import Any

import calls_for_real_airflow as calls
import pytest
from fault_case import Case
from fault_places import Place
from test_faults_calls import test_c1_ordinary
from test_faults_ending import test_e15_the_program_is_killed
from test_faults_pickling import (
    test_b2_argument_that_cannot_be_pickled,
    test_b5_result_that_cannot_be_pickled,
    test_b8_exception_that_holds_a_lock,
)
from test_faults_plugins import test_g3_keywords_like_options_of_engines, test_g4_twice
from test_faults_workers import test_a1_killed, test_a3_left

from amltk import Scheduler
from amltk.exceptions import BackendError, BatchSystemError, WorkerDied
from amltk.plugins import plugin_manager
from amltk.scheduling import ExitState
from amltk_airflow import _health, _messages
from amltk_airflow._signing import read_key

pytestmark = [pytest.mark.airflow, pytest.mark.timeout(200)]

__all__ = [  # they run here, too, with the fixture `place` of this file
    "test_a1_killed",
    "test_a3_left",
    "test_b2_argument_that_cannot_be_pickled",
    "test_b5_result_that_cannot_be_pickled",
    "test_b8_exception_that_holds_a_lock",
    "test_c1_ordinary",
    "test_e15_the_program_is_killed",
    "test_g3_keywords_like_options_of_engines",
    "test_g4_twice",
]

SOON = 60


@pytest.fixture
def place(options: dict[str, Any]) -> Place:
    return Place("airflow", {**options, "lease": 2.0})


@pytest.fixture
def case(place: Place, tmp_path: Path, nothing_is_left: None):
    folder = tmp_path / "noted"
    folder.mkdir()
    case = Case(place, folder)
    yield case
    case.check()


def make(**options: Any):
    return plugin_manager().backend("airflow")(**options).open()


class Rest:
    """Airflow's API, as somebody else uses it."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._token = ""
        who = {"username": os.environ["AMLTK_AIRFLOW_USERNAME"], "password": os.environ["AMLTK_AIRFLOW_PASSWORD"]}
        self._token = self("POST", "/auth/token", who)["access_token"]

    def __call__(self, method: str, path: str, body: Any = None) -> Any:
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {self._token}"}
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self._url + path, data, headers, method=method)
        with urllib.request.urlopen(request, timeout=20) as answer:
            return json.load(answer)

    def start(self, run_id: str, conf: Any) -> None:
        self("POST", "/api/v2/dags/amltk/dagRuns", {"dag_run_id": run_id, "logical_date": None, "conf": conf})

    def pause(self, paused: bool) -> None:
        self("PATCH", "/api/v2/dags/amltk", {"is_paused": paused})

    def run(self, run_id: str) -> Any:
        return self("GET", f"/api/v2/dags/amltk/dagRuns/{run_id}")

    def state(self, run_id: str) -> str:
        return self.run(run_id)["state"]


@pytest.fixture
def rest(options) -> Rest:
    return Rest(options["url"])


def test_a_task_that_is_killed(options):
    with make(**options) as executor:
        future = executor.submit(calls.kill_the_task)
        others = [executor.submit(abs, -number) for number in range(3)]
        error = future.exception(SOON)
        assert [each.result(SOON) for each in others] == [0, 1, 2]
    assert isinstance(error, WorkerDied)
    assert "kill_the_task() ended with its worker, process" in str(error)
    assert "is failed; task: state failed, try 1, host" in str(error)
    assert "The end of its task's log:" in str(error)


def test_a_task_that_somebody_marks_as_failed(options, rest, tmp_path, until, lives):
    with make(**options) as executor:
        future = executor.submit(calls.stay, tmp_path / "began")
        until((tmp_path / "began").exists, SOON)
        [call] = executor._calls
        rest("PATCH", f"/api/v2/dags/amltk/dagRuns/{call.run_id}", {"state": "failed"})
        error = future.exception(SOON)
        until(lambda: not lives(int((tmp_path / "began").read_text())), SOON)
    assert isinstance(error, WorkerDied)
    assert "stay(" in str(error)


def test_who_has_no_key_has_nothing_unpickled(options, rest, tmp_path, until):
    """Calls and results are changed, and a run is started anew under another name, while the runs wait."""
    marks = [tmp_path / name for name in ("call", "result", "replayed")]
    harm = [pickle.dumps(calls.LeavesAMark(mark)) for mark in marks]
    with make(**options) as executor:
        rest.pause(True)
        try:
            futures = [executor.submit(calls.note, tmp_path, number) for number in range(3)]
            until(lambda: len([call for call in executor._calls if call.accepted]) == 3, SOON)
            first, second, third = executor._calls
            session = Path(executor._store.url.removeprefix("file://"))
            (session / f"{first.id}.call").write_bytes(harm[0])
            forged = _messages.write(read_key(), ("outcome", third.run_id), _messages.Outcome("result"), harm[1])
            (session / "forged").write_bytes(forged)  # it is signed, but for another run
            (session / "forged").rename(session / f"{second.id}.outcome")
            conf = rest.run(third.run_id)["conf"]
            rest.start(f"again-{third.run_id}", conf)
        finally:
            rest.pause(False)
        changed, forged_result, whole = (future.exception(SOON) for future in futures)
        until(lambda: rest.state(f"again-{third.run_id}") == "failed", SOON)
    assert type(changed) is BackendError
    assert "is not the submitted call" in str(changed)
    assert type(forged_result) is BackendError
    assert "was not unpickled: the signature is not that of this key" in str(forged_result)
    assert whole is None
    assert not any(mark.exists() for mark in marks)
    assert len(list(tmp_path.glob("2-*"))) == 1  # the third one ran, once


def test_a_wrong_password_and_a_wrong_token(options, monkeypatch):
    scheduler = Scheduler.with_backend("airflow", **options)
    for name, who in (("PASSWORD", "user 'tester'"), ("TOKEN", "the token of AMLTK_AIRFLOW_TOKEN")):
        monkeypatch.setenv(f"AMLTK_AIRFLOW_{name}", "wrong-one")
        with pytest.raises(BatchSystemError) as info:
            scheduler.run()
        assert f"Airflow at {options['url']} refuses {who}: " in str(info.value)
        assert "HTTP 40" in str(info.value)
        assert "wrong-one" not in str(info.value)


def test_a_server_that_is_restarted_loses_nothing(airflow, options, tmp_path):
    with make(**options) as executor:
        futures = [executor.submit(calls.note, tmp_path, number, 0.5) for number in range(20)]
        futures[4].result(SOON)
        airflow("end", "api-server")
        done = sum(future.done() for future in futures)
        assert done < 20
        airflow("begin", "api-server")
        outcomes = [future.exception(3 * SOON) or future.result() for future in futures]
    ran = Counter(path.name.partition("-")[0] for path in tmp_path.iterdir())
    assert outcomes == list(range(20)), f"{done} were done when it ended"
    assert ran == Counter(str(number) for number in range(20))


def test_a_scheduler_of_airflow_that_is_stopped(airflow, options, tmp_path, caplog, monkeypatch, until):
    monkeypatch.setattr(_health, "_HEALTH_SECONDS", 1.0)
    caplog.set_level(logging.WARNING, "amltk_airflow")
    scheduler = Scheduler.with_backend("airflow", **options)

    @scheduler.on_start(limit=1)
    def begin() -> None:
        airflow("end", "scheduler")
        thread.start()

    scheduler.on_start(lambda: scheduler.submit(calls.note, tmp_path, 1))

    def stop() -> None:
        try:
            until(lambda: "reports: scheduler unhealthy, latest heartbeat" in caplog.text, SOON)
        finally:
            scheduler.stop()

    thread = threading.Thread(target=stop)
    try:
        assert scheduler.run(wait=False).code is ExitState.Code.STOPPED
        thread.join()
        assert "Start it: airflow scheduler. They go on waiting." in caplog.text
        assert scheduler.event_counts["on_future_cancelled"] == 1
    finally:
        airflow("begin", "scheduler")
    assert scheduler.run().code is ExitState.Code.EXHAUSTED
    assert len(list(tmp_path.glob("1-*"))) == 1  # the one of the first run does not come after all


# The example


def test_the_example_of_tuning_runs_with_its_constructor_changed(options: dict[str, Any], search_elsewhere):
    ends = search_elsewhere(f"with_airflow(url={options['url']!r}, store={options['store']!r}, ")
    assert sum(ends.values()) == 8
    assert ends["finished"] >= 1
    assert ends["too slow"] >= 1
    assert ends["failed"] == 0
