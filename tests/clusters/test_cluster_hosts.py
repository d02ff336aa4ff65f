"""Programs on a login node, with jobs of Slurm on two others, and what can go wrong between them."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from batch_systems import HERE, RUNNING, SOON, lacking

pytestmark = [pytest.mark.batch_system, pytest.mark.timeout(200)]

SCRIPT = str(HERE / "hosts.sh")
FOLDER = RUNNING / "hosts"
SMALL = {"n_workers": 1, "cores": 1, "memory": "500 MB", "walltime": "00:10:00"}

# Calls wait until the test lets them go on; files are the same on all hosts.
PROGRAM = """
import json, socket, sys, time
from pathlib import Path
from amltk import Scheduler

def work(number):
    Path(f"began-{number}.part").write_text(socket.gethostname())
    Path(f"began-{number}.part").rename(f"began-{number}")
    while not Path(f"gate-{number}").exists():
        time.sleep(0.05)
    return socket.gethostname()

scheduler = Scheduler.with_slurm(**json.loads(sys.argv[1]))
task = scheduler.task(work)
scheduler.on_start(lambda: [task(number) for number in range(int(sys.argv[2]))])
told = {"results": [], "errors": []}
task.on_result(lambda _, host: told["results"].append(host))
task.on_exception(lambda _, error: told["errors"].append(f"{type(error).__name__}: {error}"))
scheduler.run(on_exception="ignore")
print(json.dumps(told))
"""


def hosts(*words: str) -> str:
    """Have the script do something; return what it prints."""
    return subprocess.run(["bash", SCRIPT, *words], check=True, stdout=subprocess.PIPE, text=True).stdout


@pytest.fixture(scope="module", autouse=True)
def _hosts() -> Iterator[None]:
    """Three hosts."""
    lack = lacking() or ("" if shutil.which("unshare") else "hosts need unshare, of util-linux")
    if lack:
        (pytest.fail if "CI" in os.environ else pytest.skip)(lack)
    was_there = FOLDER.exists()
    try:
        hosts("start")
        yield
    finally:
        if not was_there:
            hosts("stop")
            assert not FOLDER.exists()
            assert (
                "amltk-hosts"
                not in subprocess.run(
                    ["ip", "netns", "list"], check=True, stdout=subprocess.PIPE, text=True
                ).stdout.split()
            )


class Program:
    """A program on the login node.

    Attributes:
        folder: Where it and its jobs are.
        process: It, or what waits for it on this side.
    """

    def __init__(self, folder: Path, calls: int, options: dict[str, Any], *before: str) -> None:
        self.folder = folder
        (folder / "program.py").write_text(PROGRAM)
        environment = ["TMPDIR=/dev/shm/tmp", f"SLURM_CONF={FOLDER}/slurm.conf"]
        # Half a minute is what jobs wait for a program that does not answer.
        environment.append("DASK_DISTRIBUTED__COMM__TIMEOUTS__CONNECT=2s")
        command = [sys.executable, "program.py", json.dumps({**SMALL, **options}), str(calls)]
        with (folder / "stderr").open("w") as stderr:
            self.process = subprocess.Popen(
                ["bash", SCRIPT, "on", "login", "env", *environment, *before, *command],
                cwd=folder, stdout=subprocess.PIPE, stderr=stderr, text=True, start_new_session=True,
            )  # fmt: skip

    @property
    def stderr(self) -> str:
        return (self.folder / "stderr").read_text()

    @property
    def warnings(self) -> list[str]:
        """Return what we have warned of; dask says that it knows no way to the internet."""
        return [line for line in self.stderr.splitlines() if line.startswith("Slurm")]

    def began(self, number: int) -> str:
        """Return on which host a call began; "" if it has not."""
        path = self.folder / f"began-{number}"
        return path.read_text() if path.exists() else ""

    def let_go(self, *numbers: int) -> None:
        """Have calls return."""
        for number in numbers:
            (self.folder / f"gate-{number}").touch()

    def end(self) -> dict[str, Any]:
        """Wait for its end; return what it tells."""
        out, _ = self.process.communicate(timeout=120)
        assert self.process.returncode == 0, self.stderr
        told: dict[str, Any] = json.loads(out)
        return told


@pytest.fixture
def program(until) -> Iterator[Callable[..., Program]]:
    """Start a program; when it has ended, neither it nor its jobs have left anything."""
    folder = FOLDER / "home" / uuid.uuid4().hex
    folder.mkdir(parents=True)
    started: list[Program] = []

    def start(calls: int, *before: str, **options: Any) -> Program:
        started.append(Program(folder, calls, options, *before))
        return started[0]

    yield start
    for each in started:
        if each.process.poll() is None:
            os.killpg(each.process.pid, signal.SIGKILL)
            each.process.wait()
        each.process.stdout.close()
    (FOLDER / "epilog-waits").unlink(missing_ok=True)
    until(lambda: queued() == [], SOON)
    until(lambda: not list(folder.glob(".amltk*")))
    until(lambda: not hosts("on", "login", "ls", "-A", "/dev/shm/tmp").split())
    until(lambda: idle() == ["node1", "node2"], SOON)


def slurm(*words: str) -> list[str]:
    return hosts("on", "login", "env", f"SLURM_CONF={FOLDER}/slurm.conf", *words).splitlines()


def queued() -> list[str]:
    return slurm("squeue", "--noheader", "--format=%A")


def idle() -> list[str]:
    return sorted(slurm("sinfo", "--noheader", "--Node", "--states=idle", "--partition=debug", "--format=%N"))


def fail(node: str) -> None:
    """Turn a node off, and have Slurm notice at once."""
    hosts("power", node, "off")
    slurm("scontrol", "update", f"NodeName={node}", "State=DOWN", "Reason=test")


def restart(node: str) -> None:
    """Make a node that was lost as good as new; else Slurm takes a minute to trust it."""
    fail(node)
    hosts("power", node, "on")


def test_a_program_has_workers_on_two_nodes(program, until) -> None:
    it = program(4, n_workers=2)
    until(lambda: {it.began(0), it.began(1)} == {"node1", "node2"}, SOON)
    it.let_go(0, 1, 2, 3)
    told = it.end()
    assert (len(told["results"]), set(told["results"])) == (4, {"node1", "node2"})
    assert told["errors"] == it.warnings == []


def test_a_short_cut_of_a_network_whose_interfaces_differ_loses_nothing(program, until) -> None:
    it = program(2, interface="lan0", worker_interface="fast0")
    until(lambda: it.began(0), SOON)
    hosts("cable", it.began(0), "down")
    it.let_go(0)
    with pytest.raises(subprocess.TimeoutExpired):  # the length of the cut
        it.process.wait(5)
    hosts("cable", it.began(0), "up")
    it.let_go(1)
    told = it.end()
    assert (len(told["results"]), told["errors"]) == (2, [])


def test_a_worker_behind_a_cut_is_replaced_after_heartbeat_timeout(program, until) -> None:
    it = program(2, heartbeat_timeout=3)
    until(lambda: it.began(0), SOON)
    lost = it.began(0)
    hosts("cable", lost, "down")
    try:
        until(lambda: it.began(1), SOON)
        assert it.began(1) != lost
        it.let_go(1)
        told = it.end()
    finally:
        restart(lost)
    [error] = told["errors"]
    assert error.startswith("WorkerLost: ")
    assert "gave no sign of life for 3 s" in error
    assert told["results"] == [it.began(1)]


def test_a_node_that_fails(program, until) -> None:
    it = program(2)
    until(lambda: it.began(0), SOON)
    lost = it.began(0)
    fail(lost)
    try:
        until(lambda: it.began(1), SOON)
        it.let_go(1)
        told = it.end()
    finally:
        restart(lost)
    [error] = told["errors"]
    assert error.startswith("WorkerDied: ")
    assert "ended as NODE_FAIL (" in error
    assert "its node failed)" in error
    assert told["results"] == [it.began(1)] != [lost]


def test_a_login_node_whose_name_is_its_own_loopback_address(program, tmp_path) -> None:
    names = FOLDER / "wrong-names"
    names.write_text((FOLDER / "names").read_text().replace("10.213.77.1 login", "127.0.1.1 login"))
    change = f'mount --bind {names} /etc/hosts && exec "$0" "$@"'
    it = program(1, "unshare", "--mount", "sh", "-c", change)
    told = it.end()
    assert "Slurm: jobs on other machines cannot reach tls://127.0.1.1:" in it.stderr
    assert "to which this machine's name, 'login', resolves. " in it.stderr
    [error] = told["errors"]
    assert error.startswith("BatchSystemError: ")
    for said in (
        "had not connected to tls://127.0.1.1:",
        "This machine, login, has lan0 (10.213.77.1): choose with interface=",
    ):
        assert said in error
    assert "can't be reached at tls://127.0.1.1:" in error


def test_an_interface_that_nodes_do_not_have(program) -> None:
    [error] = program(1, worker_interface="lan0").end()["errors"]
    assert error.startswith("BatchSystemError: Slurm's job ")
    assert "Its node has no network interface 'lan0' (worker_interface=): it has lo, fast0." in error


def test_an_epilog_that_takes_long(program, until) -> None:
    it = program(2)
    until(lambda: it.began(0), SOON)
    (FOLDER / "epilog-waits").touch()
    [job] = queued()
    slurm("scancel", job)
    until(lambda: it.began(1), SOON)
    assert job in queued(), "Slurm still cleans up"
    it.let_go(1)
    told = it.end()
    assert job in queued()
    [error] = told["errors"]
    assert error.startswith("WorkerDied: ")
    assert f"Slurm's job {job} ended as COMPLETING (its nodes are being cleaned up" in error
    assert "the batch system sent SIGTERM" in error
    assert len(told["results"]) == 1
    assert it.warnings == []


def test_a_program_that_is_ended_by_a_signal(program, until) -> None:
    """Its jobs go, and its folders, on the login node, too."""
    it = program(1)
    until(lambda: it.began(0), SOON)
    hosts("on", "login", "pkill", "--signal=TERM", "--full", f"{sys.executable} program.py")
    it.process.wait(SOON)
