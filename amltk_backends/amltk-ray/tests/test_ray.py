"""What is Ray's own; the rest is in the suite for backends, and in that of faults."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from pathlib import Path

import calls_for_ray as calls
import psutil
import pytest
import ray

from amltk import Scheduler
from amltk.exceptions import NotSupportedError, WorkerDied
from amltk_ray import _connection
from amltk_ray._local import LocalCluster

pytestmark = [pytest.mark.ray, pytest.mark.timeout(180)]


def runs(folder: Path) -> list[int]:
    """Return the processes in which calls ran; once for each call."""
    return [int(path.name.split("-")[0]) for path in folder.glob("*-*")]


# Options


@pytest.mark.parametrize(
    ("options", "error", "match"),
    [
        ({"max_workers": 0}, ValueError, "max_workers must be an integer of at least 1"),
        ({"num_cpus": -1}, ValueError, "num_cpus must be a number of 0 or more, .* got -1"),
        ({"num_gpus": "1"}, TypeError, "num_gpus must be a number of 0 or more, got '1' of type str"),
        ({"memory": 0.5}, TypeError, "memory must be an integer"),
        ({"resources": {"GPU": 1}}, ValueError, "has an option of its own: num_gpus=1"),
        ({"resources": {"license": float("nan")}}, ValueError, "must be a number of 0 or more"),
        ({"runtime_env": "pip"}, TypeError, "runtime_env must be of type Mapping"),
        ({"address": "ray://head:10001"}, ValueError, "Ray Client can't be used"),
    ],
)
def test_wrong_options_are_refused_when_the_scheduler_is_made(options, error, match):
    with pytest.raises(error, match=match):
        Scheduler.with_ray(**options)


def test_options_are_checked_without_ray(tmp_path):
    code = """
        import sys
        from amltk import Scheduler

        Scheduler.with_ray(2, num_cpus=0.5, resources={"license": 1}, address="10.0.0.1:6379")
        print("ray" in sys.modules)
        """
    assert script(code, tmp_path) == "False\n"


def test_what_this_machine_has_not_is_said_when_a_run_starts(make):
    with pytest.raises(NotSupportedError, match=r"needs 1 CPU, 1 license, which the cluster .* does not have"):
        make(resources={"license": 1})


def test_max_workers_holds_for_each_executor_of_a_cluster(make, tmp_path, until):
    executor = make(2)
    futures = [executor.submit(calls.wait_for, tmp_path / "gate", tmp_path) for _ in range(4)]
    until(lambda: len(runs(tmp_path)) == 2)
    assert [future.running() for future in futures] == [True, True, False, False]
    assert [future.cancel() for future in futures] == [False, False, True, True]
    (tmp_path / "gate").touch()
    assert {future.result(30) for future in futures[:2]} == set(runs(tmp_path))


def test_a_call_takes_what_the_options_say(make, tmp_path, until):
    """The cluster has four processors, whatever the machine has."""
    executor = make(num_cpus=3, runtime_env={"env_vars": {"PLACE": "a worker"}})
    futures = [executor.submit(calls.wait_for, tmp_path / "gate", tmp_path) for _ in range(2)]
    until(lambda: runs(tmp_path))
    assert not futures[1].running()
    (tmp_path / "gate").touch()
    assert executor.submit(lambda: (os.environ["PLACE"], os.environ["OMP_NUM_THREADS"])).result(30) == ("a worker", "3")


def test_arguments_that_are_called_as_options_reach_the_function(make):
    arguments = {"num_cpus": 5, "max_retries": 3, "name": "x", "data": 1, "token": 2, "self": 3, "fn": 4}
    assert make().submit(calls.options, **arguments).result(30) == arguments


# Workers that die


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGSEGV])
def test_how_a_worker_died_is_told_and_others_go_on(number, make, tmp_path, until):
    executor = make(2)
    beside, dying = tmp_path / "beside", tmp_path / "dying"
    beside.mkdir()
    dying.mkdir()
    other = executor.submit(calls.wait_for, tmp_path / "gate", beside)
    dead = executor.submit(calls.wait_for, tmp_path / "gate", dying)
    until(lambda: runs(beside) and runs(dying))
    os.kill(runs(dying)[0], number)
    with pytest.raises(WorkerDied, match="All other calls go on") as info:
        dead.result(30)
    (tmp_path / "gate").touch()
    assert [info.value.pid] == runs(dying)
    assert info.value.signal is number
    assert other.result(30) == runs(beside)[0]


def test_no_call_runs_twice(make, tmp_path):
    executor = make(2)
    folders = [tmp_path / str(n) for n in range(12)]
    for folder in folders:
        folder.mkdir()
    futures = [executor.submit(calls.note if n % 4 else calls.die, folder) for n, folder in enumerate(folders)]
    ends = [type(future.exception(60)) for future in futures]
    assert ends == [WorkerDied, type(None), type(None), type(None)] * 3
    assert all(len(runs(folder)) == 1 for folder in folders)


def test_after_a_short_call_most_of_those_that_wait_can_still_be_cancelled(make, tmp_path, until):
    executor = make(1)
    executor.submit(int).result(60)
    running = executor.submit(calls.wait_for, tmp_path / "gate", tmp_path)
    waiting = [executor.submit(int) for _ in range(5)]
    until(lambda: runs(tmp_path))
    assert sum(future.cancel() for future in waiting) >= 4  # one may have been given to Ray
    (tmp_path / "gate").touch()
    running.result(30)


def test_what_a_dead_worker_leaves_behind_goes_with_it(make, tmp_path, until, lives):
    future = make(1).submit(calls.leave_a_process, tmp_path, session=False, then="die")
    assert isinstance(future.exception(30), WorkerDied)
    left = int((tmp_path / "left").read_text(encoding="ascii"))
    until(lambda: not lives(left))


def test_it_is_known_when_a_call_began_whose_worker_died(make, tmp_path):
    future = make(1).submit(calls.die, tmp_path)
    error = future.exception(60)
    assert isinstance(error, WorkerDied)
    assert future.execution.pid == error.pid
    assert future.execution.duration >= 0
    assert future.execution.started <= future.execution.ended


def test_stop_now_ends_what_has_left_its_session(make, tmp_path, until, lives):
    executor = make(1)
    future = executor.submit(calls.leave_a_process, tmp_path, session=True, then="wait")
    until((tmp_path / "left").exists)
    executor.kill_workers()
    assert isinstance(future.exception(0), WorkerDied)
    assert not lives(int((tmp_path / "left").read_text(encoding="ascii")))


# The cluster of this machine


def test_it_listens_on_loopback_alone(cluster):
    listening = []
    for process in [psutil.Process(), *psutil.Process().children(recursive=True)]:
        with contextlib.suppress(psutil.NoSuchProcess):  # a worker that had nothing to do
            listening += [each.laddr.ip for each in process.net_connections() if each.status == psutil.CONN_LISTEN]
    assert len(listening) > 4
    assert {ip.removeprefix("::ffff:") for ip in listening} == {"127.0.0.1"}


def test_its_files_are_for_its_user_alone(cluster):
    assert Path(cluster._local.home).stat().st_mode & 0o077 == 0


def test_a_second_executor_shares_it_and_another_address_is_refused(make, cluster):
    address = cluster._local.address
    with make(1) as executor:
        assert executor._local is cluster._local
    assert cluster.submit(abs, -1).result(30) == 1  # the end of the one is nothing to the other
    with pytest.raises(NotSupportedError, match=r"connected to a cluster of this machine.* to 10\.0\.0\.1:6379 is"):
        make(address="10.0.0.1:6379")
    assert cluster._local.address == address


@pytest.fixture
def alone(cluster) -> None:
    """For tests that have a cluster of their own: they stand in this file after those that share one.

    There has been one, for Ray keeps some descriptors from the first to the end of the program.
    """
    from amltk_ray._connection import Connection

    cluster.shutdown()
    assert Connection.current is None


def test_the_program_is_left_as_it_was(alone, clean):
    def state():
        logger = logging.getLogger("ray")
        handlers = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGCHLD)]  # SIGINT is a run's
        return dict(os.environ), handlers, logger.level, logger.propagate, list(logger.handlers), list(sys.path)

    import ray  # noqa: F401 - its import may change things, which is not ours to undo

    before = state()
    seen = []
    scheduler = Scheduler.with_ray(1)
    scheduler.on_start(lambda: seen.append(state()))
    scheduler.on_start(lambda: scheduler.submit(abs, -1))
    scheduler.run()
    assert seen == [before]
    assert state() == before


def test_memory_that_runs_out_is_said(alone, clean, monkeypatch):
    """Ray's monitor is told to find the machine full a little above what it uses now."""
    memory = psutil.virtual_memory()
    if memory.available < 3 << 30:
        pytest.skip("it needs 3 GB of free memory")
    threshold = (memory.total - memory.available + (1 << 30)) / memory.total
    monkeypatch.setenv("RAY_memory_usage_threshold", str(threshold))
    monkeypatch.setenv("RAY_memory_monitor_refresh_ms", "50")
    scheduler = Scheduler.with_ray(1)
    errors = []
    scheduler.on_start(lambda: scheduler.submit(calls.eat))
    scheduler.on_future_exception(lambda _, error: errors.append(error))
    scheduler.run(on_exception="ignore")
    (error,) = errors
    assert isinstance(error, WorkerDied)
    assert error.out_of_memory
    assert "eat() ended with its worker" in str(error)
    assert "memory ran out" in str(error)


PROGRAM = """
    import os, pathlib, subprocess, sys, time
    sys.path.insert(0, {tests!r})
    import calls_for_ray as calls
    from amltk import Scheduler

    folder = pathlib.Path({folder!r})
    scheduler = Scheduler.with_ray(1)
    scheduler.on_start(lambda: scheduler.submit(calls.leave_a_process, folder, session=True, then="wait"))
    scheduler.run()
    """


@pytest.mark.parametrize("victim", ["program", "guard"])
def test_it_goes_with_a_program_that_is_killed(victim, alone, clean, tmp_path, until, lives):
    """With all that calls have started, and with its files; or with its guard, if it is that."""
    path = tmp_path / "script.py"
    path.write_text(textwrap.dedent(PROGRAM.format(tests=str(Path(__file__).parent), folder=str(tmp_path))))
    with subprocess.Popen([sys.executable, path], stderr=subprocess.DEVNULL) as program:
        try:
            until((tmp_path / "left").exists, 60)
            family = psutil.Process(program.pid).children(recursive=True)
            names = " ".join(" ".join(each.cmdline()) for each in family)
            assert "raylet" in names
            assert "gcs_server" in names
            (guard,) = psutil.Process(program.pid).children()
            assert "_guard.py" in " ".join(guard.cmdline())
            if victim == "guard":
                guard.kill()
                program.wait(60)  # the call has failed
        finally:
            program.kill()
    until(lambda: not any(lives(each.pid) for each in family))
    until(lambda: not list(clean.iterdir()))


def test_ray_that_does_not_start_is_said_with_its_words(alone, clean):
    from amltk_ray import _local

    with pytest.raises(RuntimeError, match="Ray did not start") as info:
        _local.LocalCluster(1, {"GPU": 1})  # which `ray start` refuses
    assert "resources" in str(info.value)


# Clusters that exist


def script(code: str, folder: Path, **environment: str | None) -> str:
    """Run a program, with these variables, or without those of None, and return what it printed."""
    path = folder / "script.py"
    path.write_text(textwrap.dedent(code), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, path],
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
        env={name: value for name, value in {**os.environ, **environment}.items() if value is not None},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def existing() -> Iterator[LocalCluster]:
    """A cluster of two nodes, by `ray start` and on loopback; the second has a GPU, as far as Ray knows."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {"period_ms": "500", "failure_threshold": "10", "initial_delay_ms": "0"}.items():
            patch.setenv(f"RAY_health_check_{name}", value)  # a node that died is known after seconds
        cluster = LocalCluster(1, {})
    yield cluster
    cluster.close()


@pytest.fixture
def second(existing: LocalCluster) -> Iterator[psutil.Popen]:
    """A second node of that cluster."""
    start = """
        from ray._private import services

        services.resolve_ip_for_localhost = str  # it would take the machine's address in its network

        from ray.scripts.scripts import main

        main()
        """
    command = [sys.executable, "-c", textwrap.dedent(start), "start", "--block", f"--address={existing.address}"]
    command += ["--num-cpus=1", "--num-gpus=1", '--resources={"second": 1}', "--node-ip-address=127.0.0.1"]
    environment = {**os.environ, **existing.environment}
    node = psutil.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    yield node
    for each in [*node.children(recursive=True), node] if node.is_running() else ():
        each.kill()
    node.wait()


ON_LOOPBACK = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
PREAMBLE = """
    import os, pathlib, sys, time
    sys.path.insert(0, {tests!r})
    import calls_for_ray as calls
    import psutil
    from amltk import Scheduler
    from amltk.exceptions import NotSupportedError

    address, folder = {address!r}, pathlib.Path({folder!r})

    def lives(pid):
        try:
            return psutil.Process(pid).status() != "zombie"
        except psutil.NoSuchProcess:
            return False

    def when(condition, function):
        if condition():
            function()
        else:
            scheduler.call_later(0.05, when, condition, function)
    """


def in_cluster(existing: LocalCluster, code: str, folder: Path, **more: str | None) -> str:
    preamble = PREAMBLE.format(tests=str(Path(__file__).parent), address=existing.address, folder=str(folder))
    environment = {**existing.environment, **ON_LOOPBACK, **more}
    return script(textwrap.dedent(preamble) + textwrap.dedent(code), folder, **environment)


def test_a_cluster_that_exists_has_what_calls_ask_for_and_stays(existing, alone, second, tmp_path, lives):
    code = """
        scheduler = Scheduler.with_ray(address=address, num_gpus=1, resources={"second": 0.5})
        task = scheduler.task(lambda: os.environ["CUDA_VISIBLE_DEVICES"])
        scheduler.on_start(task)
        task.on_result(lambda _, result: print("GPU", result))
        scheduler.run()
        import ray
        print(ray.is_initialized())
        """
    for _ in range(2):
        assert in_cluster(existing, code, tmp_path) == "GPU 0\nFalse\n"
    assert lives(existing._guard.pid)
    assert lives(second.pid)


def test_a_node_that_dies_takes_its_call_alone(existing, alone, second, tmp_path, until):
    code = """
        scheduler = Scheduler.with_ray(address=address)
        task = scheduler.task(calls.wait_for)

        @scheduler.on_start
        def begin():
            for name in "ab":
                (folder / name).mkdir()
                task(folder / "gate", folder / name)

        task.on_exception(lambda _, error: (folder / "gate").touch())
        task.on_exception(lambda _, error: print(type(error).__name__, str(error).replace("\\n", " ")))
        task.on_result(lambda *_: print("result"))
        scheduler.run(on_exception="ignore")
        """

    def die() -> None:
        until(lambda: len(list(tmp_path.glob("?/*-0"))) == 2, 60)
        for each in [*second.children(recursive=True), second]:
            each.kill()

    thread = threading.Thread(target=die)
    thread.start()
    output = in_cluster(existing, code, tmp_path)
    died, result = output.splitlines()[-2:]
    thread.join()
    assert result == "result"
    assert died.startswith("WorkerDied ")
    assert "ended with its worker" in died
    assert "Ray reports:" in died
    assert "node" in died


def test_what_no_node_has_is_said_and_the_run_can_end(existing, alone, tmp_path):
    code = """
        import logging

        logging.basicConfig(format="%(message)s", stream=sys.stdout)
        scheduler = Scheduler.with_ray(address=address, num_cpus=1000)
        scheduler.on_start(lambda: scheduler.submit(abs, -1))
        print(scheduler.run(timeout=4, wait=False).code)
        """
    said, *_, code = in_cluster(existing, code, tmp_path).splitlines()
    assert said.startswith("A call needs 1000 CPU, which no node of the cluster has at present: 1 CPU")
    assert code.endswith("TIMEOUT")


def test_a_connection_that_is_there_is_used_and_stays(existing, alone, tmp_path):
    code = """
        import ray

        ray.init(address, log_to_driver=False)
        scheduler = Scheduler.with_ray()
        task = scheduler.task(calls.leave_a_process)
        scheduler.on_start(lambda: task(folder, session=False, then="wait"))
        scheduler.on_start(lambda: when((folder / "left").exists, scheduler.stop))
        scheduler.run(wait=False)
        pid = int((folder / "left").read_text())
        end = time.monotonic() + 20
        while lives(pid) and time.monotonic() < end:
            time.sleep(0.01)
        print(task.event_counts["on_cancelled"], time.monotonic() < end, ray.is_initialized())
        print(ray.get(ray.remote(lambda: 1).remote()))
        try:
            Scheduler.with_ray(address="10.0.0.1:6379").run()
        except NotSupportedError as error:
            print(error)
        """
    ended, result, refused = in_cluster(existing, code, tmp_path).splitlines()[-3:]
    assert ended == "1 True True"
    assert result == "1"
    assert "by ray.init(). A connection to 10.0.0.1:6379 is not possible" in refused


@pytest.mark.parametrize("token", ["none", "another", "in a file"])
def test_a_cluster_that_asks_for_a_token(existing, alone, tmp_path, monkeypatch, token):
    """Of Ray's own, the program would wait for minutes, and then not hear of the token."""
    if not hasattr(ray.exceptions, "AuthenticationError"):
        pytest.skip("this Ray has no tokens")
    code = """
        scheduler = Scheduler.with_ray(address=address)
        task = scheduler.task(abs)
        scheduler.on_start(lambda: task(-1))
        task.on_result(lambda _, result: print("result", result))
        try:
            scheduler.run()
        except ConnectionError as error:
            print(error)
        print(os.environ.get("RAY_AUTH_MODE"))
        """
    home = tmp_path / "home"
    (home / ".ray").mkdir(parents=True)
    if token == "in a file":
        (home / ".ray" / "auth_token").write_text(existing.environment["RAY_AUTH_TOKEN"])
    more = {"RAY_AUTH_MODE": None, "RAY_AUTH_TOKEN": None, "HOME": str(home)}
    if token == "another":
        more |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "0" * 64}
    said = in_cluster(existing, code, tmp_path, **more)
    if token == "in a file":
        assert said == "result 1\nNone\n"
        return
    here = {"none": "there is none here", "another": "this program has another one"}[token]
    assert f"The cluster of Ray at {existing.address} asks for a token, and {here}." in said
    assert "RAY_AUTH_MODE=token and RAY_AUTH_TOKEN_PATH" in said


def test_an_address_where_nothing_is_is_said(alone, tmp_path):
    code = """
        from amltk import Scheduler
        try:
            Scheduler.with_ray(address="127.0.0.1:9").run()
        except ConnectionError as error:
            print(error)
        """
    assert "127.0.0.1:9" in script(code, tmp_path)


# The example


def test_the_example_of_tuning_runs_with_one_word_changed(search_elsewhere):
    ends = search_elsewhere("with_ray(")
    assert sum(ends.values()) == 8
    assert ends["finished"] >= 1
    assert ends["too slow"] >= 1
    assert ends["failed"] == 0


def test_a_cluster_that_is_made_has_as_many_processors_as_the_program_may_use(monkeypatch):
    made = []

    def refuse(cpus, others):
        made.append(cpus)
        raise InterruptedError

    monkeypatch.setenv("PYTHON_CPU_COUNT", "3")
    monkeypatch.setattr(_connection, "LocalCluster", refuse)
    with pytest.raises(InterruptedError):
        _connection._open_local({"CPU": 1, "GPU": 0, "memory": 0}, None, None)
    assert made == [3]


def test_libraries_find_the_script_in_a_worker() -> None:
    script = Path(__file__).parents[3] / "tests/script_in_workers/script_of_workers.py"
    command = [sys.executable, script, "ray", '{"max_workers": 1}']
    done = subprocess.run(command, capture_output=True, text=True, timeout=55, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert len(found) > 20
    assert {name: value for name, (value, right) in found.items() if value != right} == {}
