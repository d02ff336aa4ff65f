"""Who can talk to dask's scheduler and to the jobs of a run, and where the key of the run lies."""

from __future__ import annotations

import asyncio
import stat
from pathlib import Path

import psutil
import pytest
from calls_for_slurm import where
from distributed import Security
from distributed.comm import connect
from distributed.utils import get_ip

from amltk import Scheduler
from amltk.exceptions import BatchSystemError
from amltk_dask import tls
from amltk_dask_jobqueue.executor import JobQueueExecutor, open_executor
from amltk_slurm.plugin import Slurm

SYSTEM = Slurm.system

pytestmark = pytest.mark.thorough

NEEDS = {"cores": 1, "memory": "500 MB"}


def make(**options) -> JobQueueExecutor:
    return open_executor(SYSTEM, n_workers=1, options={**NEEDS, **options})


def greets(address: str, security: Security) -> bool:
    """Say whether dask answers there."""

    async def greet() -> bool:
        try:
            comm = await connect(address, timeout=1, **security.get_connection_args("client"))
        except OSError:
            return False
        comm.abort()
        return True

    return asyncio.run(greet())


def test_strangers_are_refused_by_scheduler_and_jobs(standin, nothing_is_left, tmp_path):
    other = tls.make_security(tmp_path / "other.pem")
    with make() as executor:
        executor.submit(where).result(50)
        address = executor._client.scheduler.address
        for place in (address, *executor.workers):
            assert place.startswith("tls://")
            assert not greets(place.replace("tls:", "tcp:"), Security())
            assert not greets(place, other)
        assert greets(address, executor._client.security)
        executor.submit(where).result(50)


def test_the_scheduler_listens_at_the_address_that_jobs_are_told_alone(standin, nothing_is_left):
    def listening() -> set[tuple[str, int]]:
        found = psutil.Process().net_connections("inet")
        return {(each.laddr.ip, each.laddr.port) for each in found if each.status == psutil.CONN_LISTEN}

    before = listening()
    with make() as executor:
        host = get_ip()
        assert f"tls://{host}:" in standin.script("1")
        assert {ip for ip, _ in listening() - before} <= {host, "127.0.0.1"}
        executor.submit(where).result(50)


def test_jobs_are_told_a_file_that_nobody_else_can_read(standin, nothing_is_left, monkeypatch):
    folder = Path.cwd() / "with a space"
    folder.mkdir()
    monkeypatch.chdir(folder)
    with make() as executor:
        executor.submit(where).result(50)
        (file,) = folder.glob(".amltk-slurm-*/tls.pem")
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
        key = file.read_text().splitlines()[1]
        script = standin.script("1")
        assert f"--tls-key '{file}'" in script
        for process in standin.processes():
            assert key not in " ".join([*process.cmdline(), *process.environ().values()])
        for path in (path for path in standin.home.rglob("*") if path.is_file()):
            assert key not in path.read_text(errors="replace")
    assert list(folder.iterdir()) == []
    monkeypatch.undo()
    folder.rmdir()


def test_logs_that_stay_leave_no_key(standin, nothing_is_left, tmp_path):
    logs = tmp_path / "some" / "logs"
    with make(log_directory=str(logs)) as executor:
        executor.submit(where).result(50)
        (file,) = logs.glob(".amltk-slurm-*/tls.pem")
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert [path.name for path in logs.iterdir()] == ["dask-worker-1.out"]


def test_certificates_that_are_given_as_text_reach_jobs_as_files(standin, nothing_is_left, recwarn):
    with make(security=Security.temporary()) as executor:
        executor.submit(where).result(50)
        assert "PRIVATE" not in standin.script("1")
    assert list(Path.cwd().iterdir()) == []
    assert [str(each.message) for each in recwarn] == []


def test_a_refused_job_leaves_no_key(standin, nothing_is_left):
    standin.refuse("no such partition")
    with pytest.raises(BatchSystemError, match="no such partition"):
        make()
    assert list(Path.cwd().iterdir()) == []


def test_plain_connections_can_be_asked_for(standin, nothing_is_left):
    with make(security=False) as executor:
        executor.submit(where).result(50)
        assert "--tls" not in standin.script("1")
        assert greets(executor._client.scheduler.address, Security())


def test_what_secures_nothing_is_refused():
    for options, error, said in [
        ({"security": "yes"}, TypeError, "security must be of type Security, got ... of type str"),
        ({"protocol": "tcp://"}, ValueError, "protocol='tcp://' is not encrypted"),
    ]:
        with pytest.raises(error, match=said):
            Scheduler.with_slurm(n_workers=1, **NEEDS, **options)
