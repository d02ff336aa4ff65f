"""The backend `dask`: who can talk to a cluster that is made for a run, and where its key lies."""

from __future__ import annotations

import asyncio
import os
import socket
import stat
import urllib.error
import urllib.request

import calls_for_dask as calls
import psutil
import pytest
from distributed import LocalCluster, Security
from distributed.comm import connect

from amltk import ExitState, Scheduler
from amltk_dask import tls
from amltk_dask._local import open_local
from amltk_dask.executor import DaskExecutor


def make(**options) -> DaskExecutor:
    return open_local(**{"n_workers": 2, "allowed_failures": 0, "heartbeat_timeout": None, **options})


def family() -> list[psutil.Process]:
    me = psutil.Process()
    return [me, *me.children(recursive=True)]


def listening() -> list[tuple[str, int]]:
    """Return where this program and its workers listen."""
    found = []
    for process in family():
        connections = getattr(process, "net_connections", None) or process.connections  # as psutil before 6 calls it
        found += [each.laddr for each in connections("inet") if each.status == psutil.CONN_LISTEN]
    return [(str(address.ip), int(address.port)) for address in found]


def greets(address: str, security: Security) -> bool:
    """Say whether dask answers there."""

    async def greet() -> bool:
        try:
            comm = await connect(address, timeout=1, **security.get_connection_args("client"))
        except OSError:
            return False
        try:
            await comm.write({"op": "identity", "reply": True})
            return bool(await asyncio.wait_for(comm.read(), 5))
        except (TimeoutError, OSError):
            return False
        finally:
            comm.abort()

    return asyncio.run(greet())


@pytest.fixture
def other(tmp_path) -> Security:
    """A certificate of somebody else's."""
    return tls.make_security(tmp_path / "other.pem")


def test_a_stranger_is_refused_wherever_the_program_and_its_workers_listen(clean, other, tmp_path, until):
    gate, began = tmp_path / "gate", tmp_path / "began"
    began.mkdir()
    before = set(listening())
    with make() as executor:
        runs = executor.submit(calls.wait_for, gate, began)
        until(lambda: list(began.iterdir()) and len(executor.workers) == 2, 30)
        assert {host for host, _ in set(listening()) - before} == {"127.0.0.1"}
        address = executor._client.scheduler.address
        for place in (address, *executor.workers):
            assert not greets(place.replace("tls:", "tcp:"), Security())
            assert not greets(place, other)
        assert greets(address, executor._client.security)
        gate.touch()
        assert runs.result(30) != os.getpid()
        assert executor.submit(abs, -1).result(30) == 1


def test_strangers_who_say_nothing_or_nonsense_hold_nobody_up(clean):
    before = set(listening())
    with make() as executor:
        assert executor.submit(abs, -1).result(30) == 1
        strangers = []
        for place in set(listening()) - before:
            for words in (b"", b"\x00" * 64, b"GET / HTTP/1.1\r\n\r\n"):
                strangers.append(socket.create_connection(place, timeout=5))
                strangers[-1].sendall(words)
        assert [executor.submit(abs, -n).result(30) for n in range(20)] == list(range(20))
        for stranger in strangers:
            stranger.close()


def test_a_cluster_without_security_is_open_to_everybody_of_this_machine(clean):
    with make(security=False, n_workers=1) as executor:
        address = executor._client.scheduler.address
        assert address.startswith("tcp://127.0.0.1:")
        assert greets(address, Security())


def test_nobody_can_read_the_key(clean, tmp_path, caplog):
    caplog.set_level(1)
    with make(local_directory=str(tmp_path), n_workers=1) as executor:
        assert executor.submit(abs, -1).result(30) == 1
        (file,) = tmp_path.glob("*/tls.pem")
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
        key = file.read_text().splitlines()[1]
        for process in family():
            assert key not in " ".join([*process.cmdline(), *process.environ().values()])
        assert key not in repr(executor._client.security)
    assert key not in caplog.text
    assert not list(tmp_path.glob("*/tls.pem"))


def test_the_pages_of_the_scheduler_are_closed_without_a_dashboard(clean):
    before = set(listening())
    with make(n_workers=1) as executor:
        assert executor.submit(abs, -1).result(30) == 1
        for host, port in set(listening()) - before:
            for page in ("info/main/workers.html", "json/identity.json", "metrics", "health"):
                with pytest.raises((urllib.error.URLError, OSError)) as refused:
                    urllib.request.urlopen(f"http://{host}:{port}/{page}", timeout=5)
                if isinstance(refused.value, urllib.error.HTTPError):
                    refused.value.close()


def test_every_run_has_a_certificate_of_its_own(clean):
    with make(n_workers=1) as first, make(n_workers=1) as second:
        assert not greets(first._client.scheduler.address, second._client.security)


def test_a_certificate_is_valid_where_clocks_are_late_and_strict_checks_take_it(tmp_path, until):
    from cryptography import x509

    tls.write_certificate(tmp_path / "tls.pem")
    certificate = x509.load_pem_x509_certificate((tmp_path / "tls.pem").read_bytes())
    valid = certificate.not_valid_after_utc - certificate.not_valid_before_utc
    assert valid.days > 365
    with pytest.raises(FileExistsError):  # not written through what somebody else has put there
        tls.write_certificate(tmp_path / "tls.pem")


def test_a_security_of_dasks_is_taken_as_it_is(clean, other):
    with make(security=other, n_workers=1) as executor:
        assert executor.submit(abs, -1).result(30) == 1
        assert greets(executor._client.scheduler.address, other)


def test_a_cluster_that_exists_is_reached_with_its_security(other):
    with LocalCluster(
        n_workers=1, threads_per_worker=1, security=other, dashboard_address="127.0.0.1:0", processes=False,
        protocol="tls://",
    ) as cluster:  # fmt: skip
        scheduler = Scheduler.with_dask(address=cluster.scheduler_address, security=other)
        results = []
        task = scheduler.task(abs)
        scheduler.on_start(lambda: task(-1))
        task.on_result(lambda _, result: results.append(result))
        assert scheduler.run().code is ExitState.Code.EXHAUSTED
        assert results == [1]


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"security": "tls"}, TypeError, r"^security must be of type Security, got ... of type str"),
        ({"security": 1}, TypeError, r"^security must be of type Security, got ... of type int"),
        ({"protocol": "tcp://"}, ValueError, r"^protocol='tcp://' is not encrypted: .* security=False"),
        ({"protocol": "tcp", "security": True}, ValueError, r"^protocol='tcp' is not encrypted"),
        ({"host": "tcp://127.0.0.1"}, ValueError, r"^host='tcp://127\.0\.0\.1' is not encrypted"),
        ({"address": "tls://here:8786", "security": True}, ValueError, r"^security=True makes a new certificate"),
    ],
)
def test_what_secures_nothing_is_refused(options, error, said):
    with pytest.raises(error, match=said):
        Scheduler.with_dask(**options)


def test_the_security_of_a_client_is_the_clients(client):
    with pytest.raises(TypeError, match="security= belongs to the client"):
        Scheduler.with_dask(client=client, security=Security())
