"""Calls, what becomes of them, and what is said about it."""

from __future__ import annotations

import logging
import os
import pickle
import platform
import re
import signal
import subprocess
import sys
import textwrap
import threading
import time
from concurrent.futures import BrokenExecutor, CancelledError
from pathlib import Path
from types import SimpleNamespace

import calls_for_airflow as calls
import cloudpickle
import pytest

from amltk import Scheduler
from amltk.exceptions import BackendError, BatchSystemError, WorkerDied
from amltk.plugins import plugin_manager
from amltk.scheduling import ExitState
from amltk_airflow import _gone, _health, _lease, _messages, worker
from amltk_airflow._signing import Key
from amltk_airflow._store import Store
from amltk_airflow.worker import CallFailedError, Task

SOON = 20
KEY = "0123456789abcdef" * 4


def make(**options):
    return plugin_manager().backend("airflow")(**options).open()


def test_a_call_and_its_run(executor, airflow):
    assert executor.submit(calls.add, 2, y=3).result(SOON) == 5
    [(run_id, run)] = airflow.runs().items()
    assert run_id.startswith("add-")
    assert set(run["conf"]) == {"call", "folder", "digest", "lease", "versions", "beat", "signature"}
    assert KEY not in str(run)


def test_nothing_is_left_in_the_store(options, store, until):
    with make(**options) as executor:
        futures = [executor.submit(calls.add, 1), executor.submit(calls.leave, 3), executor.submit(calls.return_lock)]
        for future in futures:
            future.exception(SOON)
        [session] = store.iterdir()
        until(lambda: [path.name for path in session.iterdir()] == ["lease"])
    assert not list(store.iterdir())


def test_keywords_are_the_functions(executor):
    sent = {name: name for name in ("conf", "dag_id", "dag_run_id", "timeout", "url", "store", "fn", "self", "call")}
    assert executor.submit(calls.keywords, **sent).result(SOON) == sent


def test_the_same_call_twice_is_two_runs(executor, airflow):
    for future in [executor.submit(calls.add, 1) for _ in range(2)]:
        assert future.result(SOON) == 2
    assert len(airflow.runs()) == 2


def test_an_argument_that_can_not_be_pickled_starts_nothing(executor, airflow):
    error = executor.submit(calls.add, {"lock": threading.Lock()}).exception(SOON)
    assert isinstance(error, pickle.PicklingError)
    assert "args[0]['lock']" in str(error)
    assert "add" in str(error)
    assert not airflow.runs()


def test_a_result_that_can_not_be_pickled_names_the_function(executor):
    error = executor.submit(calls.return_lock).exception(SOON)
    assert "return_lock returned, at result[0]" in str(error)


def test_an_exception_that_can_not_be_pickled(executor):
    error = executor.submit(calls.raise_with_lock).exception(SOON)
    assert type(error) is ValueError
    assert str(error) == "it holds a lock"
    assert "in raise_with_lock" in error.__notes__[-1]


@pytest.mark.parametrize(
    ("call", "args", "code", "words"),
    [(calls.die, (signal.SIGKILL,), -9, "killed by SIGKILL"), (calls.leave, (7,), 7, "exited with code 7")],
)
def test_a_call_whose_process_dies(executor, call, args, code, words):
    other = executor.submit(calls.add, 1)
    error = executor.submit(call, *args).exception(SOON)
    assert isinstance(error, WorkerDied)
    assert error.exit_code == code
    assert words in str(error)
    assert f"process {error.pid} on {os.uname().nodename}" in str(error)
    assert call.__name__ in str(error)
    assert ("the last words" in error.stderr) == (call is calls.leave)
    assert other.result(SOON) == 2


def test_a_thread_does_not_keep_a_call_that_returned(executor):
    assert executor.submit(calls.leave_a_thread).result(SOON) == "returned"


def test_calls_have_no_key(executor):
    assert executor.submit(calls.environment, "AMLTK_AIRFLOW_KEY").result(SOON) is None


@pytest.fixture
def hasty(monkeypatch):
    """Who waits hardly for what may still come into the store."""
    monkeypatch.setattr(_gone, "_FAILED_PATIENCE", 0.1)


def test_a_task_that_ends_without_a_word(executor, airflow, hasty):
    airflow.control(silent=True)
    error = executor.submit(calls.add, 1).exception(SOON)
    assert isinstance(error, WorkerDied)
    assert "add(1) ended with its task, before it had begun, 3 times. Airflow reports" in str(error)
    assert "is failed; task: state failed, try 1, host the-host, process 4711" in str(error)
    assert "The end of its task's log:\n    the end of the log" in str(error)
    assert len(airflow.runs()) == 3


def test_a_task_that_fails_before_its_call_has_begun_is_replaced(executor, airflow, until, hasty):
    """As those that start while the server is away."""
    airflow.control(silent=True)
    future = executor.submit(calls.add, 1)
    until(lambda: len(airflow.runs()) == 2)
    airflow.control(silent=False)
    assert future.result(SOON) == 2


def test_a_task_that_refuses_its_call_is_not_replaced(options, airflow, hasty):
    with make(**options) as executor:
        executor._key = Key("another key" * 10, "a test")
        error = executor.submit(calls.add, 1).exception(SOON)
    assert isinstance(error, WorkerDied)
    assert "nothing of it was unpickled: the signature is not that of this key" in str(error)
    assert len(airflow.runs()) == 1


def test_no_more_runs_than_max_workers(options, airflow, until, tmp_path):
    airflow.control(held=True)
    with make(**options, max_workers=2) as executor:
        futures = [executor.submit(calls.add, number) for number in range(5)]
        until(lambda: len(airflow.runs()) == 2)
        assert executor.worker_counts() == {"queued": 2, "running": 0}
        airflow.control(held=False)
        assert [future.result(SOON) for future in futures] == [1, 2, 3, 4, 5]


def test_a_run_in_the_queue_is_cancelled(options, store, airflow, until, tmp_path):
    airflow.control(held=True)
    with make(**options) as executor:
        future = executor.submit(calls.wait_for, tmp_path / "gate", tmp_path / "began")
        until(airflow.runs)
        assert future.cancel()
        until(lambda: [run["state"] for run in airflow.runs().values()] == ["failed"])
        airflow.control(held=False)
        assert executor.submit(calls.add, 1).result(SOON) == 2
    assert not (tmp_path / "began").exists()
    with pytest.raises(CancelledError):
        future.result()


def test_a_run_that_begins_after_its_end_is_refused(options, airflow, until, tmp_path):
    """As it would be, if Airflow had not heard that it is not wanted any more."""
    airflow.control(held=True)
    with make(**options) as executor:
        future = executor.submit(calls.wait_for, tmp_path / "gate", tmp_path / "began")
        until(airflow.runs)
        airflow.control(answers=[500] * 1000)
        assert future.cancel()
        until(lambda: executor._calls == [])
        airflow.control(answers=[], held=False)
        until(lambda: [run["state"] for run in airflow.runs().values()] == ["failed"])
    [run] = airflow.runs().values()
    assert "The call is refused: the main process has stopped it." in run["log"]
    assert not (tmp_path / "began").exists()


def test_what_runs_can_not_be_cancelled(executor, tmp_path, until):
    future = executor.submit(calls.wait_for, tmp_path / "gate", tmp_path / "began")
    until(future.running)
    assert not future.cancel()
    (tmp_path / "gate").touch()
    assert future.result(SOON) == "done"


def test_stop_now_ends_calls_and_what_they_started(scheduler, store, tmp_path, until, lives, airflow):
    began = tmp_path / "began"
    scheduler = scheduler()
    task = scheduler.task(calls.stay)
    scheduler.on_start(lambda: task(began))

    def look() -> None:
        if began.exists():
            scheduler.stop()
        else:
            scheduler.call_later(0.01, look)

    scheduler.on_start(look)
    assert scheduler.run(wait=False).code is ExitState.Code.STOPPED
    assert not any(lives(int(pid)) for pid in began.read_text().split())
    assert [run["state"] for run in airflow.runs().values()] == ["failed"]
    assert scheduler.event_counts["on_future_cancelled"] == 1


def test_the_program_is_killed(options, store, tmp_path, until, lives):
    """Its calls end themselves, and clean up after it."""
    program = tmp_path / "program.py"
    program.write_text(
        textwrap.dedent(f"""
            import sys
            sys.path.insert(0, {str(Path(__file__).parent)!r})
            import cloudpickle, calls_for_airflow, pathlib
            cloudpickle.register_pickle_by_value(calls_for_airflow)
            from amltk import Scheduler
            scheduler = Scheduler.with_backend("airflow", lease=1.0, **{options!r})
            began = pathlib.Path({str(tmp_path / "began")!r})
            scheduler.on_start(lambda: scheduler.submit(calls_for_airflow.stay, began))
            scheduler.run()
        """)
    )
    with subprocess.Popen([sys.executable, program]) as process:
        until((tmp_path / "began").exists)
        process.kill()
    pids = [int(pid) for pid in (tmp_path / "began").read_text().split()]
    until(lambda: not any(lives(pid) for pid in pids))
    until(lambda: not list(store.iterdir()))


def test_the_task_is_killed(tmp_path, store, until, lives):
    """The process of the call goes with it, whatever it does."""
    key, store_url = Key(KEY, "a test"), f"{store.as_uri()}/session"
    (store / "session").mkdir(parents=True)
    lease = _lease.Lease(Store(store_url), key, 30)
    data = cloudpickle.dumps((calls.stay, (tmp_path / "began",), {}))
    Store(store_url).write("1.call", data)
    order = _messages.Order.signed(key, "run", "1", store_url, data, 30.0)
    code = f"from amltk_airflow.worker import Task; Task({vars(order)!r}, 'run').run()"
    with subprocess.Popen([sys.executable, "-c", code]) as process:
        until((tmp_path / "began").exists)
        process.kill()
    pids = [int(pid) for pid in (tmp_path / "began").read_text().split()]
    until(lambda: not any(lives(pid) for pid in pids))
    lease.close()
    Store(store_url).remove_all()


def test_a_clock_that_is_wrong(options, monkeypatch):
    """Workers then wait for the next sign of life."""
    monkeypatch.setattr(_lease, "time", SimpleNamespace(time=lambda: time.time() + 1000))
    with make(**options, lease=1.0) as executor:
        assert executor.submit(calls.add, 1).result(SOON) == 2


def test_a_call_whose_program_is_long_gone(store, monkeypatch, tmp_path):
    """It does not begin, and what the program has left is cleaned up."""
    monkeypatch.setattr(_lease, "time", SimpleNamespace(time=lambda: time.time() - 1000))
    key, folder = Key(KEY, "a test"), Store(f"{store.as_uri()}/session")
    folder.make()
    _lease.Lease(folder, key, 1000).close()
    data = cloudpickle.dumps((calls.LeavesAMark(tmp_path / "mark"), (), {}))
    folder.write("1.call", data)
    order = _messages.Order.signed(key, "run", "1", folder.url, data, 0.5)
    with pytest.raises(CallFailedError, match=r"the main process gave no sign of life for 0\.5 s"):
        Task(dict(vars(order)), "run").run()
    assert not list(store.iterdir())
    assert not (tmp_path / "mark").exists()


def test_a_scheduler_of_airflow_that_does_not_run(options, airflow, caplog, monkeypatch, until):
    monkeypatch.setattr(_health, "_HEALTH_SECONDS", 0.1)
    airflow.control(held=True)
    with make(**options) as executor:
        future = executor.submit(calls.add, 1)
        airflow.control(scheduler="unhealthy")
        until(lambda: "scheduler unhealthy, latest heartbeat then. Start it: airflow scheduler" in caplog.text)
        assert not future.done()
        airflow.control(scheduler="healthy", dag={"is_paused": True})
        until(lambda: "the DAG is paused. Resume it: airflow dags unpause amltk" in caplog.text)
        airflow.control(dag={"is_paused": False}, held=False)
        assert future.result(SOON) == 2
    assert len(caplog.records) == 2


def test_another_version_there(options, airflow, monkeypatch, caplog):
    """The first worker that says so ends the run: none of them would do better."""
    caplog.set_level(logging.ERROR, "amltk")
    monkeypatch.setattr(_messages, "versions", lambda: {"Python": "2.7", "cloudpickle": "0.1"})
    with make(**options) as executor:
        error = executor.submit(calls.add, 1).exception(SOON)
        assert isinstance(error, BrokenExecutor)
        here = f"{sys.version_info.major}.{sys.version_info.minor}"
        assert f"Python: there 2.7, here {here}; cloudpickle: there 0.1, here 3." in str(error)
        with pytest.raises(BrokenExecutor, match=r"Python: there 2\.7"):
            executor.submit(calls.add, 1)


# Who has no key


def test_a_call_that_was_changed_is_not_unpickled(options, store, airflow, until, tmp_path):
    airflow.control(held=True)
    with make(**options) as executor:
        future = executor.submit(calls.add, 1)
        until(airflow.runs)
        [call] = store.glob("*/*.call")
        call.write_bytes(pickle.dumps(calls.LeavesAMark(tmp_path / "mark")))
        airflow.control(held=False)
        error = future.exception(SOON)
    assert type(error) is BackendError
    assert "add(1) was refused: the object in the store is not the submitted call" in str(error)
    assert not (tmp_path / "mark").exists()


@pytest.mark.parametrize("replayed", [False, True], ids=["changed", "that of another call"])
def test_a_result_that_was_changed_is_not_unpickled(options, store, airflow, until, tmp_path, replayed):
    airflow.control(held=True)
    mark = pickle.dumps(calls.LeavesAMark(tmp_path / "mark"))
    with make(**options) as executor:
        future = executor.submit(calls.add, 1)
        until(airflow.runs)
        [call] = store.glob("*/*.call")
        content = b"0" * 64 + b'\n{"kind": "result"}\n' + mark
        if replayed:  # which is signed, but is another run's
            content = _messages.write(Key(KEY, ""), ("outcome", "other"), _messages.Outcome(_messages.RESULT), mark)
        part = call.with_suffix(".part")
        part.write_bytes(content)
        part.rename(call.with_suffix(".outcome"))
        error = future.exception(SOON)
    assert type(error) is BackendError
    assert "The outcome of add(1) (Airflow's run add-" in str(error)
    assert "was not unpickled" in str(error)
    assert not (tmp_path / "mark").exists()


@pytest.mark.parametrize("change", ["run_id", "digest", "folder", "lease", "beat", "signature", "key"])
def test_a_run_that_was_not_started_by_us_is_refused(change, tmp_path, monkeypatch):
    data = pickle.dumps(calls.LeavesAMark(tmp_path / "mark"))
    key = Key("another key" * 10 if change == "key" else KEY, "a test")
    order = _messages.Order.signed(key, "run", "1", tmp_path.as_uri(), data, 30.0)
    conf = dict(vars(order))
    if change in conf:
        conf[change] = 0.5 if change in {"lease", "beat"} else conf[change].replace(conf[change][-1], "_")
    with pytest.raises(CallFailedError, match="nothing of it was unpickled: the signature is not that of this key"):
        Task(conf, "another run" if change == "run_id" else "run")


class Recorded:
    """A session whose leases somebody has kept who may write to the store and has no key."""

    def __init__(self, store, seconds=0.5):
        self.key, self.folder = Key(KEY, "a test"), Store(f"{store.as_uri()}/session")
        self.folder.make()
        self.lease = _lease.Lease(self.folder, self.key, 1000)
        self.seconds = seconds

    def keep(self):
        return self.folder.read("lease")

    def renew(self):
        self.lease.stop()
        return self.keep()

    def watch(self):
        """Return a worker's view of the lease, of a call that is ordered now."""
        order = _messages.Order.signed(self.key, "run", "1", self.folder.url, b"", self.seconds, beat=self.lease.beat)
        return worker._Lease(self.folder, self.key, order)


def test_old_leases_do_not_keep_a_call_alive(store):
    recorded = Recorded(store)
    old = [recorded.keep(), recorded.renew(), recorded.renew()]
    seen = recorded.watch()
    assert seen.over(first=True) == ""
    recorded.lease.close()  # the main process is gone
    end = time.monotonic() + SOON
    while not (reason := seen.over()):
        assert time.monotonic() < end
        recorded.folder.write("lease", old[0])
        old = [*old[1:], old[0]]
    assert reason == "the main process gave no sign of life for 0.5 s"
    recorded.folder.remove_all()


def test_a_call_does_not_begin_by_a_lease_that_is_older_than_its_order(store):
    recorded = Recorded(store)
    old = recorded.keep()
    recorded.renew()
    recorded.lease.close()
    recorded.folder.write("lease", old)
    assert recorded.watch().over(first=True) == "the main process gave no sign of life for 0.5 s"
    assert not list(store.iterdir())  # as nobody else does it


def test_a_call_does_not_begin_without_a_lease_that_can_be_read(store, monkeypatch):
    recorded = Recorded(store)
    recorded.lease.close()
    seen = recorded.watch()

    def broken(name):
        raise OSError(name)

    with monkeypatch.context() as patch:
        patch.setattr(recorded.folder, "read", broken)
        assert seen.over(first=True) == "the main process gave no sign of life for 0.5 s"
    recorded.folder.remove_all()


def test_a_lease_of_another_session_is_refused(store):
    recorded, other = Recorded(store), f"{store.as_uri()}/other"
    order = _messages.Order.signed(recorded.key, "run", "1", other, b"", 0.5)
    recorded.lease.close()
    reason = worker._Lease(recorded.folder, recorded.key, order).over(first=True)
    assert reason.startswith("of the lease, the signature is not that of this key")
    recorded.folder.remove_all()


@pytest.mark.parametrize("umask", [0, 0o022, 0o777])
def test_only_their_user_can_read_what_lies_in_the_store(options, store, tmp_path, until, umask):
    before = os.umask(umask)
    try:
        with make(**{**options, "store": (store / "deeper").as_uri()}) as executor:
            future = executor.submit(calls.wait_for, tmp_path / "gate", tmp_path / "began")
            until(lambda: list(store.glob("*/*/*.begun")))
            found = [(path.is_dir(), path.stat().st_mode & 0o777) for path in (store, *store.rglob("*"))]
            gate = os.open(tmp_path / "gate", os.O_CREAT)
            os.close(gate)
            assert future.result(SOON) == "done"
        assert set(found) == {(True, 0o700), (False, 0o600)}
        assert len(found) == 6  # the store, one in it, the session; the lease, the call, which process has begun it
    finally:
        os.umask(before)
        (store / "deeper").rmdir()


def test_what_a_writer_left_that_was_killed_is_replaced(store):
    folder = Store(f"{store.as_uri()}/session")
    folder.make()
    (store / "elsewhere").write_bytes(b"")
    (store / "session" / "1.call.part").symlink_to(store / "elsewhere")
    folder.write("1.call", b"data")
    assert folder.read("1.call") == b"data"
    assert (store / "elsewhere").read_bytes() == b""
    folder.remove_all()
    (store / "elsewhere").unlink()


def test_a_run_that_was_started_by_hand_is_refused():
    with pytest.raises(CallFailedError, match="This DAG is for calls of amltk"):
        Task({"some": "thing"}, "manual")


def test_a_run_that_is_started_again_is_refused(options, airflow, store, until, tmp_path, monkeypatch):
    """As by `Clear task` on Airflow's pages."""
    with make(**options) as executor:
        future = executor.submit(calls.wait_for, tmp_path / "gate", tmp_path / "began")
        until((tmp_path / "began").exists)
        [(run_id, run)] = airflow.runs().items()
        with pytest.raises(CallFailedError, match="it has begun before"):
            Task(run["conf"], run_id).run()
        (tmp_path / "gate").touch()
        assert future.result(SOON) == "done"
        with pytest.raises(CallFailedError, match="it is not in the store any more"):
            Task(run["conf"], run_id).run()
    with pytest.raises(CallFailedError, match="the main process has ended its run"):
        Task(run["conf"], run_id).run()


# A server that is away


def test_an_answer_that_is_lost_does_not_run_a_call_twice(executor, airflow, tmp_path):
    airflow.control(lost=2)
    futures = [executor.submit(calls.add, number) for number in range(4)]
    assert [future.result(SOON) for future in futures] == [1, 2, 3, 4]
    assert len(airflow.runs()) == 4
    assert airflow.asked("POST /api/v2/dags/amltk/dagRuns") == 6


def test_a_server_that_can_not_answer_is_asked_again(executor, airflow):
    airflow.control(answers=[500, 502, 503, 429])
    assert executor.submit(calls.add, 1).result(SOON) == 2


def test_a_server_that_stays_away(options, airflow, monkeypatch, store):
    monkeypatch.setattr(_health, "PATIENCE_SECONDS", 0.3)
    with make(**options) as executor:
        airflow.control(answers=[503] * 1000)
        begun = time.monotonic()
        error = executor.submit(calls.add, 1).exception(SOON)
        assert time.monotonic() - begun < SOON
        assert isinstance(error, BatchSystemError)
        assert f"Airflow at {airflow.url} has not answered for 0.3 s" in str(error)
        assert "HTTP 503" in str(error)
        with pytest.raises(BatchSystemError, match="has not answered"):
            executor.submit(calls.add, 1)


def test_a_token_that_expires_is_renewed(executor, airflow):
    assert executor.submit(calls.add, 1).result(SOON) == 2
    airflow.control(tokens=[])
    assert executor.submit(calls.add, 2).result(SOON) == 3
    assert airflow.asked("POST /auth/token") == 2


def test_a_ready_token(options, airflow, monkeypatch):
    monkeypatch.setenv("AMLTK_AIRFLOW_TOKEN", "a-token")
    with pytest.raises(
        BatchSystemError, match=r"refuses the token of AMLTK_AIRFLOW_TOKEN: .* HTTP 403: Invalid JWT"
    ) as info:
        make(**options)
    assert "a-token" not in str(info.value)
    airflow.control(tokens=["a-token"])
    with make(**options) as executor:
        assert executor.submit(calls.add, 1).result(SOON) == 2
    assert airflow.asked("POST /auth/token") == 0


# What is wrong from the beginning


def test_a_wrong_password_ends_the_run_at_once(scheduler, airflow, monkeypatch):
    monkeypatch.setenv("AMLTK_AIRFLOW_PASSWORD", "a wrong one")
    scheduler = scheduler()
    scheduler.on_start(lambda: scheduler.submit(calls.add, 1))
    with pytest.raises(BatchSystemError) as info:
        scheduler.run()
    assert f"Airflow at {airflow.url} refuses user 'tester': POST /auth/token: HTTP 401" in str(info.value)
    assert "a wrong one" not in str(info.value)
    assert info.value.command == f"POST /auth/token at {airflow.url}"


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"dag": None}, "has no DAG 'amltk'. Put it there, on its machine: amltk airflow install-dag DAGS_FOLDER"),
        ({"dag": {"is_paused": True}}, "The DAG is paused, so no call would run. Resume it: airflow dags unpause"),
        (
            {
                "import_errors": [
                    {"filename": "amltk_dag.py", "stack_trace": "Traceback\nImportError: no amltk_airflow"}
                ]
            },
            "Airflow can't import amltk_dag.py: ImportError: no amltk_airflow.",
        ),
    ],
)
def test_a_dag_that_would_not_run(options, airflow, wrong, said):
    airflow.control(**wrong)
    with pytest.raises(BatchSystemError) as info:
        make(**options)
    assert said in str(info.value)


def test_no_server(options):
    with pytest.raises(BatchSystemError, match=r"Airflow does not answer at http://127\.0\.0\.1:9: .*refused"):
        make(**{**options, "url": "http://127.0.0.1:9"})


def test_nobody_asks(options, monkeypatch):
    monkeypatch.delenv("AMLTK_AIRFLOW_PASSWORD")
    with pytest.raises(
        BatchSystemError, match=r"set AMLTK_AIRFLOW_USERNAME \(or username=\) and AMLTK_AIRFLOW_PASSWORD"
    ):
        make(**options)


def test_a_store_that_can_not_be_written(options, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file"):
        make(**{**options, "store": (tmp_path / "file").as_uri()})


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("url", "airflow.example.org", "url must be that of Airflow's api-server"),
        ("store", "/tmp/amltk", "store must be a URL, as in 'file:///shared/amltk'"),
        ("store", "memory://amltk", "store must be accessible to Airflow's workers"),
        ("max_workers", 0, "max_workers must be an integer of at least 1"),
        ("interval", 0, "interval must be a number of seconds, more than 0"),
        ("lease", -1, "lease must be a number of seconds, more than 0"),
        ("key_file", "/does/not/exist", "The key can't be read from /does/not/exist"),
    ],
)
def test_options_that_will_not_do(option, value, said):
    options = {"url": "http://localhost:8080", "store": "file:///tmp/amltk", option: value}
    with pytest.raises(ValueError, match=re.escape(said)):
        Scheduler.with_backend("airflow", **options)


def test_no_key(monkeypatch):
    monkeypatch.delenv("AMLTK_AIRFLOW_KEY")
    with pytest.raises(ValueError, match="There is no key") as info:
        Scheduler.with_backend("airflow", url="http://localhost:8080", store="file:///tmp/amltk")
    assert "python3 -c 'import secrets; print(secrets.token_hex(32))' > amltk-airflow.key" in str(info.value)


def test_a_key_is_not_shown(tmp_path):
    (tmp_path / "key").write_text(KEY)
    options = {"url": "http://localhost:8080", "store": "file:///tmp/amltk", "key_file": str(tmp_path / "key")}
    assert KEY not in repr(Scheduler.with_backend("airflow", **options).executor_label)
    key = Key(KEY, "a test")
    assert KEY not in repr(key) + str(key)
    with pytest.raises(TypeError):
        pickle.dumps(key)


def test_a_short_key():
    with pytest.raises(ValueError, match="has 5 characters; it needs 32 or more"):
        Key("short", "a test")


def test_a_store_whose_library_is_not_installed(options):
    with pytest.raises(BackendError, match="pip install s3fs"):
        make(**{**options, "store": "s3://bucket/amltk"})


@pytest.mark.thorough
def test_what_the_doctor_says(options):
    command = [sys.executable, "-m", "amltk", "doctor", "airflow"]
    for name in ("url", "store"):
        command += ["-o", f"{name}={options[name]}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=50)
    assert done.returncode == 0, done.stdout + done.stderr
    steps = [line.split()[1] for line in done.stdout.splitlines()[1:]]
    assert steps[3:9] == ["server", "login", "dag", "scheduler", "store", "worker"]
    assert "it sees the store and has the key; Python 3." in done.stdout


def test_a_task_that_is_gone_after_its_call_has_begun_is_not_replaced(options, airflow, tmp_path, until, hasty):
    """Its process was killed, say, with that of the call: it can't tell how."""
    with make(**options) as executor:
        future = executor.submit(calls.wait_for, tmp_path / "gate", tmp_path / "began")
        until(future.running)
        airflow.control(lose=True)
        error = future.exception(SOON)
        assert len(airflow.runs()) == 1
        (tmp_path / "gate").touch()
    assert isinstance(error, WorkerDied)
    assert "ended with its worker, process " in str(error)
    assert "Airflow reports: the run wait_for-" in str(error)


def test_a_folder_in_which_a_worker_writes_while_it_is_removed_is_removed(tmp_path, monkeypatch):
    store = Store(f"file://{tmp_path}").within("session")
    store.make()
    for name in ("1.outcome", "2.outcome"):
        store.write(name, b"")
    remove, calls = store._fs.rm, []

    def rm(path: str, **options: object) -> None:
        calls.append(path)
        if len(calls) < 3:  # what was to be removed has got another name; something new is there
            raise (FileNotFoundError, OSError)[len(calls) - 1](path)
        remove(path, **options)

    monkeypatch.setattr(store._fs, "rm", rm)
    store.remove_all()
    assert len(calls) == 3
    assert not list(tmp_path.iterdir())
    store.remove_all()  # of what is not there


def test_a_call_that_runs_and_one_whose_process_died_tell_where(executor, tmp_path, until):
    future = executor.submit(calls.wait_for, tmp_path / "gate", tmp_path / "began")
    until(lambda: future.execution)
    execution = future.execution
    assert (execution.host, execution.duration) == (platform.node(), None)
    (tmp_path / "gate").touch()
    future.result(SOON)
    assert future.execution.started >= execution.started
    died = executor.submit(calls.leave, 7)
    error = died.exception(SOON)
    assert died.execution.pid == error.pid
    assert died.execution.duration > 0


def test_a_call_that_a_worker_refuses_has_no_execution(options, store, until, monkeypatch):
    monkeypatch.setattr(_messages, "versions", lambda: {"Python": "2.7"})
    with make(**options) as executor:
        future = executor.submit(calls.add, 1)
        assert isinstance(future.exception(SOON), BrokenExecutor)
    assert future.execution is None
