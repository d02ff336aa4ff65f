"""`amltk doctor` performs the health checks of a backend; here one of a batch system, played by two scripts."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from amltk import cli
from amltk.doctor import Check, RefusedOptionsError, examine, process

pytestmark = pytest.mark.thorough

BATCH = """
    import os, shutil, socket, subprocess, time
    from concurrent.futures import ThreadPoolExecutor
    from pathlib import Path
    from amltk.backend import Backend, HealthCheck
    from amltk.checks import check_int

    class Batch(Backend):
        name = "batch"
        summary = "Batch."

        def __init__(self, queue, cores: int = 1):
            check_int("cores", cores, at_least=1)
            self.queue, self.cores = queue, cores

        def open(self):
            return ThreadPoolExecutor(self.cores)

        def health_checks(self):
            return checks(self.queue, self.cores)

    def checks(queue, cores):
        jobs = []
        server = None

        def command():
            path = shutil.which("fsub")
            if path is None:
                raise RuntimeError("there is no command fsub on PATH: module load fake")
            return path

        def job():
            nonlocal server
            server = socket.create_server(("127.0.0.1", 0))
            port = str(server.getsockname()[1])
            done = subprocess.run(["fsub", queue, port], capture_output=True, text=True)
            if done.returncode:
                raise RuntimeError(f"fsub refused a job for the queue {queue!r}: {done.stderr}")
            jobs.append(done.stdout.strip())
            return f"job {jobs[0]}\\nfor {cores} cores"

        def worker():
            print(f"job {jobs[0]} waits for a place in the queue {queue}")
            (Path(os.environ["FAKE_CLUSTER"]) / "waiting").touch()
            with server.accept()[0] as worker:
                return worker.recv(100).decode()

        try:
            yield HealthCheck("submit command", command)
            yield HealthCheck("job", job, runs=True)
            yield HealthCheck("worker", worker, runs=True)
        finally:
            for each in jobs:
                subprocess.run(["fdel", each], check=True)
"""

FSUB = """
import os, pathlib, subprocess, sys
queue, port = sys.argv[1:]
if queue == "closed":
    sys.exit("fsub: error: the queue is closed:\\n  ask its owner")
worker = f"import socket; socket.create_connection(('127.0.0.1', {port})).sendall(b'a worker on node 7')"
code = "pass" if queue == "busy" else worker
job = subprocess.Popen(
    [sys.executable, "-c", code + "; import time; time.sleep(100)"],
    start_new_session=True,
    stdin=subprocess.DEVNULL,
    stdout=subprocess.DEVNULL,
    stderr=subprocess.DEVNULL,
)
(pathlib.Path(os.environ["FAKE_CLUSTER"]) / "jobs" / str(job.pid)).touch()
print(job.pid)
"""

FDEL = """
import os, pathlib, signal, sys
os.kill(int(sys.argv[1]), signal.SIGKILL)
(pathlib.Path(os.environ["FAKE_CLUSTER"]) / "jobs" / sys.argv[1]).unlink()
"""

STEPS = ["installed", "versions", "load", "submit command", "job", "worker", "clean up", "start", "call", "stop"]


class Cluster:
    """The batch system. Its jobs are processes in sessions of their own, so nothing but `fdel` ends them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.bin = folder / "bin"
        self.bin.mkdir(parents=True)
        (folder / "jobs").mkdir()
        self.command("fsub", FSUB)
        self.command("fdel", FDEL)

    def command(self, name: str, code: str) -> None:
        path = self.bin / name
        path.write_text(f"#!{sys.executable}\n{code}")
        path.chmod(0o755)

    def jobs(self) -> list[int]:
        return [int(path.name) for path in (self.folder / "jobs").iterdir()]


@pytest.fixture
def cluster(site, tmp_path, monkeypatch):
    """A batch system with its backend; whatever a test does, its jobs end."""
    cluster = Cluster(tmp_path / "cluster")
    monkeypatch.setenv("PYTHONPATH", str(site.folder))
    monkeypatch.setenv("PATH", str(cluster.bin), prepend=os.pathsep)
    monkeypatch.setenv("FAKE_CLUSTER", str(cluster.folder))
    site.add("their-batch", BATCH, backends="batch = @:Batch")
    yield cluster
    for job in cluster.jobs():
        psutil.Process(job).kill()


def look(queue: str = "debug", *, run: bool = True, limit: float = 30, **options: object) -> list[Check]:
    """Examine the backend, without what is the same for all."""
    return list(examine("batch", run=run, limit=limit, options={"queue": queue, **options}).checks[3:])


def told(checks: list[Check]) -> list[tuple[str, str]]:
    return [(check.name, check.status) for check in checks]


def change(site, old: str, new: str) -> None:
    path = site.folder / "their_batch.py"
    code = path.read_text()
    assert old in code
    path.write_text(code.replace(old, new))


# What is found


def test_a_missing_command_is_named_with_what_mends_it(cluster):
    (cluster.bin / "fsub").unlink()
    failed, cleaned = look()
    assert (failed.name, failed.status) == ("submit command", "failed")
    assert failed.detail == "RuntimeError: there is no command fsub on PATH: module load fake"
    assert (cleaned.name, cleaned.status) == ("clean up", "ok"), cleaned.detail


def test_where_all_is_well_every_step_is_ok(cluster):
    found = examine("batch", run=True, limit=30, options={"queue": "debug", "cores": 2})
    assert [check.name for check in found.checks] == STEPS
    assert {check.status for check in found.checks} == {"ok"}
    assert all(check.seconds is not None for check in found.checks[2:])
    details = {check.name: check.detail for check in found.checks}
    assert details["submit command"] == str(cluster.bin / "fsub")
    assert details["job"].startswith("job ")
    assert details["job"].endswith(" for 2 cores")
    assert details["worker"] == "a worker on node 7"
    assert details["start"] == "with_batch(queue='debug', cores=2)"
    assert cluster.jobs() == []


def test_the_job_is_gone_before_the_backend_starts(cluster, site):
    change(
        site,
        "return ThreadPoolExecutor",
        "assert not os.listdir(os.environ['FAKE_CLUSTER'] + '/jobs')\n        return None or ThreadPoolExecutor",
    )
    assert told(look())[-3:] == [("start", "ok"), ("call", "ok"), ("stop", "ok")]


def test_a_command_that_refuses_the_job_is_quoted(cluster):
    command, failed, cleaned = look("closed")
    assert told([command, failed, cleaned]) == [("submit command", "ok"), ("job", "failed"), ("clean up", "ok")]
    assert failed.detail.endswith("for the queue 'closed': fsub: error: the queue is closed: ask its owner")
    assert cluster.jobs() == []


def test_where_no_worker_connects_in_time_it_is_said_what_was_waited_for_and_the_job_is_cancelled(cluster):
    *before, failed, cleaned = look("busy", limit=4)
    assert told(before) == [("submit command", "ok"), ("job", "ok")]
    job = before[1].detail.split()[1]
    assert failed == Check("worker", "failed", failed.detail, 4)
    assert failed.detail == f"it did not end within 4 s; its last output: job {job} waits for a place in the queue busy"
    assert (cleaned.name, cleaned.status) == ("clean up", "ok"), cleaned.detail
    assert cluster.jobs() == []


def test_without_running_what_starts_something_is_left_out(cluster):
    checks = look("closed", run=False)
    assert told(checks) == [
        ("submit command", "ok"),
        ("job", "left out"),
        ("worker", "left out"),
        ("clean up", "ok"),
    ]
    (cluster.bin / "fsub").unlink()
    assert told(look(run=False)) == [("submit command", "failed"), ("clean up", "ok")]


# Cleaning up


def test_after_a_failure_what_was_started_is_ended(cluster, site):
    change(site, 'return f"job', 'raise RuntimeError("held") or f"job')
    assert told(look())[1:] == [("job", "failed"), ("clean up", "ok")]
    assert cluster.jobs() == []


@pytest.mark.parametrize("queue", ["debug", "busy"])
def test_a_job_that_cannot_be_cancelled_is_told(cluster, queue):
    cluster.command("fdel", "import sys; sys.exit('not yours')")
    checks = look(queue, limit=4)
    assert told(checks[2:]) == [("worker", "ok" if queue == "debug" else "failed"), ("clean up", "failed")]
    assert "'fdel'" in checks[-1].detail
    assert "returned non-zero exit status 1" in checks[-1].detail
    assert len(cluster.jobs()) == 1


def test_a_clean_up_that_hangs_is_told(cluster):
    cluster.command("fdel", "import time; print('asking', flush=True); time.sleep(100)")
    *before, failed = look(limit=4)
    assert told(before)[-1] == ("worker", "ok")
    assert failed == Check("clean up", "failed", "it did not end within 4 s; its last output: asking", 4)


def test_a_clean_up_that_hangs_after_time_is_up_is_told_as_well(cluster, monkeypatch):
    monkeypatch.setattr(process, "GRACE_SECONDS", 2.0)
    cluster.command("fdel", "import time; time.sleep(100)")
    *_, failed, cleaned = look("busy", limit=4)
    assert (failed.name, failed.status) == ("worker", "failed")
    assert cleaned == Check("clean up", "failed", "it did not end within 2 s", 2)


def test_of_a_process_that_dies_no_clean_up_is_told(cluster, site):
    change(site, 'print(f"job', 'os._exit(3)  # (f"job')
    assert told(look())[1:] == [("job", "ok"), ("worker", "failed")]


# Two mornings in the life of a pipeline: it is interrupted, or its time is up.
@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_doctor_that_is_interrupted_leaves_no_job(cluster, until, number, status):
    command = [sys.executable, "-m", "amltk", "doctor", "batch", "-o", "queue=busy", "--timeout", "50"]
    doctor = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    until((cluster.folder / "waiting").exists)
    assert len(cluster.jobs()) == 1
    doctor.send_signal(number)
    assert doctor.communicate(timeout=40) == ("", "")
    assert doctor.returncode == status
    assert cluster.jobs() == []


# What is wrong with health checks

WRONG = {
    "raise": ("jobs = []", "jobs = [1 / 0]", "health checks", "ZeroDivisionError: division by zero"),
    "give something else": (
        "yield HealthCheck",
        "yield 3\n        yield HealthCheck",
        "health checks",
        "yielded 3; each must",
    ),
    "have one name": (
        '"job", job',
        '"submit command", job',
        "health checks",
        "must be a HealthCheck, with a name that no",
    ),
    "have a name of ours": (
        '"job", job',
        '"start", job',
        "health checks",
        "must be a HealthCheck, with a name that no",
    ),
    "raise in between": ('yield HealthCheck("job"', '1 / 0\n        yield HealthCheck("job"', "clean up", "ZeroDiv"),
    "take other options": (
        "return checks(self.queue, self.cores)",
        "return checks(self.queue)",
        "health checks",
        "TypeError: checks()",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_health_checks_that_are_wrong_are_told(cluster, site, case):
    old, new, step, said = WRONG[case]
    change(site, old, new)
    last = look()[-1]
    assert (last.name, last.status) == (step, "failed")
    assert said in last.detail


def test_a_list_of_health_checks_does_as_well(cluster, site):
    change(site, "return checks(self.queue, self.cores)", "return [HealthCheck('home', os.getcwd)]")
    checks = look()
    assert told(checks) == [("home", "ok"), ("clean up", "ok"), ("start", "ok"), ("call", "ok"), ("stop", "ok")]
    assert checks[0].detail == str(Path.cwd())


# Options


def test_options_that_are_missing_are_asked_for(cluster):
    for run in (True, False):
        (check,) = examine("batch", run=run, limit=30, options={"cores": 2}).checks[3:]
        assert (check.name, check.status) == ("health checks", "left out")
        assert check.detail.startswith("with_batch() has no default for: queue; ")
        assert check.detail.endswith("amltk doctor batch --option cores=VALUE --option queue=VALUE")


@pytest.mark.parametrize("run", [True, False])
@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"quue": "debug"}, "with_batch has no option 'quue'. Did you mean 'queue'? Its options are: queue, cores."),
        ({"queue": "debug", "cores": 0}, "cores must be an integer of at least 1, got 0."),
        ({"queue": "debug", "cores": "two"}, "cores must be an integer of at least 1, got 'two' of type str."),
    ],
)
def test_options_that_the_backend_refuses_are_refused(cluster, options, said, run):
    with pytest.raises(RefusedOptionsError) as caught:
        examine("batch", run=run, limit=30, options=options)
    assert str(caught.value) == said


def test_defaults_that_the_backend_refuses_are_its_own_fault(cluster, site):
    change(site, "(self, queue, cores: int = 1)", "(self, queue='debug', cores: int = 0)")
    (check,) = examine("batch", run=True, limit=30).checks[3:]
    assert (check.name, check.status) == ("health checks", "failed")
    assert "cores must be an integer of at least 1, got 0" in check.detail


# The command


def doctor(*args: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "amltk", "doctor", *args]
    return subprocess.run(command, capture_output=True, text=True, timeout=50, check=False)


def test_the_command_takes_options_of_the_backend(cluster):
    done = doctor("-o", "queue=debug", "batch", "--option", "cores=2", "--json")
    assert (done.returncode, done.stderr) == (0, "")
    (found,) = json.loads(done.stdout)
    assert found["ok"] is True
    assert [check["name"] for check in found["checks"]] == STEPS
    assert found["checks"][-3]["detail"] == "with_batch(queue='debug', cores=2)"


def test_the_command_ends_with_1_when_a_health_check_fails(cluster):
    done = doctor("batch", "-o", "queue=closed")
    assert (done.returncode, done.stderr) == (1, "")
    assert "ask its owner" in " ".join(done.stdout.split())


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["batch", "-o", "cores=0", "-o", "queue=x"], "cores must be an integer of at least 1, got 0."),
        (["batch", "-o", "queue"], "--option: must be OPTION=VALUE, as in --option queue=debug, got 'queue'"),
        (["batch", "-o", "=debug"], "must be OPTION=VALUE, as in --option queue=debug, got '=debug'"),
        (["batch", "-o", "queue=a", "-o", "queue=b"], "--option queue is given more than once"),
        (["-o", "queue=a"], "--option needs the name of the backend that has it: amltk doctor NAME --option ..."),
    ],
)
def test_the_command_ends_with_2_when_options_are_wrong(cluster, args, said):
    done = doctor(*args)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.endswith(f"{said}\n")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("debug", "debug"),
        ("2", 2),
        ("1.5", 1.5),
        ("1e999", float("inf")),
        ("'2'", "2"),
        ("None", None),
        ("True", True),
        ("['a', 2]", ["a", 2]),
        ("", ""),
        ("01:30:00", "01:30:00"),
        ("a=b", "a=b"),
        ("2if", "2if"),
        ("{[]}", "{[]}"),
        ("/scratch/x y", "/scratch/x y"),
    ],
)
def test_values_are_literals_of_python_or_text(monkeypatch, capsys, text, value):
    seen = []
    monkeypatch.setattr("amltk.doctor.examine", lambda name, **how: seen.append(how["options"]) or Examined())
    assert cli.main(["doctor", "batch", "-o", f"queue={text}"]) == 0
    assert seen == [{"queue": value}]


class Examined:
    backend, checks, ok = "batch", (), True
