"""The network between a program and its jobs: interfaces, and addresses that nodes can't reach."""

from __future__ import annotations

import re
import socket
from types import SimpleNamespace

import dask
import psutil
import pytest

from amltk import Scheduler
from amltk.plugins import plugin_manager
from amltk_dask_jobqueue import addresses

OWN = "an address inside its machine (loopback)"
ITS_NAME = "to which this machine's name, 'login', resolves"
NEEDS = {"n_workers": 1, "cores": 1, "memory": "500 MB"}


def script(**options: object) -> str:
    return plugin_manager().backend("slurm")(**NEEDS, **options).job_script()


@pytest.fixture
def names(monkeypatch):
    """Have names resolve to what a test says; the machine's name is `login`."""
    known = {}

    def getaddrinfo(host, *_, **__):
        if host not in known and not re.fullmatch(r"[\d.]+|[\da-f:]+", host):
            raise socket.gaierror(-2, "Name or service not known")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (known.get(host, host), 0))]

    def gethostbyname(host):
        return getaddrinfo(host)[0][4][0]

    monkeypatch.setattr(socket, "gethostname", lambda: "login")
    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    monkeypatch.setattr(socket, "gethostbyname", gethostbyname)
    return known


@pytest.fixture
def cards(monkeypatch):
    """The machine's interfaces."""

    def card(address: str) -> list[SimpleNamespace]:
        return [SimpleNamespace(family=socket.AF_INET, address=address)]

    there = {
        "lo": card("127.0.0.1"),
        "lan0": card("192.0.2.1"),
        "old0": card("192.0.2.99"),
        "fast0": card("198.51.100.1"),
    }
    monkeypatch.setattr(psutil, "net_if_addrs", lambda: there)
    monkeypatch.setattr(psutil, "net_if_stats", lambda: {name: SimpleNamespace(isup=name != "old0") for name in there})


def test_an_interface_of_the_scheduler_is_not_that_of_the_workers(cards):
    assert "--interface" not in script(interface="lan0")
    assert "--interface fast0" in script(interface="lan0", worker_interface="fast0")
    assert "--interface anything" in script(worker_interface="anything"), "this machine need not have it"


def test_interfaces_of_dasks_configuration_count_the_same(cards):
    with dask.config.set({"jobqueue.slurm.interface": "lan0"}):
        assert "--interface" not in script()
        with dask.config.set({"jobqueue.slurm.worker-interface": "fast0"}):
            assert "--interface fast0" in script()
            assert "--interface other" in script(worker_interface="other")
    with (
        dask.config.set({"jobqueue.slurm.interface": "ib7"}),
        pytest.raises(ValueError, match="interface='ib7' is no net"),
    ):
        script()


@pytest.mark.parametrize("options", [{"interface": "ib7"}, {"scheduler_options": {"interface": "ib7"}}])
def test_an_interface_that_is_not_there_is_refused_when_the_scheduler_is_made(names, cards, options):
    there = r"login, which has fast0 \(198\.51\.100\.1\), lan0 \(192\.0\.2\.1\)\..* worker_interface="
    with pytest.raises(ValueError, match=rf"^interface='ib7' is no network interface of this machine, {there}"):
        Scheduler.with_slurm(**NEEDS, **options)


@pytest.mark.parametrize(
    ("address", "why"),
    [
        ("tcp://192.0.2.1:8786", ""),
        ("tls://198.51.100.1:8786", ""),
        ("tcp://203.0.113.7:80", ""),  # forwarded by another machine
        ("tcp://127.0.1.1:8786", f"127.0.1.1 is {OWN}, {ITS_NAME}"),
        ("tcp://127.0.0.1:8786", "127.0.0.1 is an address inside its machine (loopback)"),
        ("tcp://[::1]:8786", "::1 is an address inside its machine (loopback)"),
        ("tcp://login:8786", f"'login' is 127.0.1.1, and 127.0.1.1 is {OWN}, {ITS_NAME}"),
        ("tcp://169.254.3.4:8786", "169.254.3.4 is unknown to other networks (link-local)"),
        ("tcp://192.0.2.99:8786", "192.0.2.99 belongs to the interface old0, which is down"),
        ("tcp://nowhere:8786", "this machine does not know the name 'nowhere'"),
    ],
)  # fmt: skip
def test_an_address_that_other_machines_can_not_reach(names, cards, address, why):
    names["login"] = "127.0.1.1"
    assert addresses.doubt(address) == why


def test_what_helps_names_the_interfaces_that_others_may_reach(names, cards):
    said = addresses.hint()
    assert "This machine, login, has fast0 (198.51.100.1), lan0 (192.0.2.1): choose with interface=" in said


def test_a_node_without_the_interface_of_the_workers():
    log = (
        "Traceback\nValueError: 'ib7' is not a valid network interface. Valid network interfaces are: ['lo', 'fast0']\n"
    )
    assert addresses.missing_interface(log) == (
        "Its node has no network interface 'ib7' (worker_interface=): it has lo, fast0."
    )
    assert addresses.missing_interface("ValueError: something else") == ""
