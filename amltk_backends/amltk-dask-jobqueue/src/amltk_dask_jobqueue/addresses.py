"""Checks the addresses that nodes connect to, and explains why they can't be reached."""

from __future__ import annotations

import ipaddress
import re
import socket
from urllib.parse import urlsplit

import psutil

from amltk.describe import describe_value


def check_interface(interface: str, what: str) -> None:
    """Check that this machine has an interface.

    Args:
        interface: The interface's name.
        what: The option that names it.

    Raises:
        ValueError: There is no such interface.
    """
    if interface not in psutil.net_if_addrs():
        given = f"{what}={describe_value(interface)}"
        msg = (
            f"{given} is no network interface of this machine, {socket.gethostname()}, which has {interfaces()}. "
            "Nodes reach this program by that interface; their own is worker_interface=."
        )
        raise ValueError(msg)


def interfaces() -> str:
    """List this machine's interfaces that others may reach, with addresses; if there is none, list all."""
    named = {
        name: [each.address for each in addresses if each.family == socket.AF_INET]
        for name, addresses in psutil.net_if_addrs().items()
    }
    found = {name: own for name, own in named.items() if own and not any(map(_why_not, own))} or named
    return ", ".join(f"{name} ({', '.join(own)})" if own else name for name, own in sorted(found.items()))


def hint() -> str:
    """Return a sentence on how to let nodes reach this program."""
    return (
        f"Nodes have to reach that address. This machine, {socket.gethostname()}, has {interfaces()}: choose with "
        "interface=, or give an address with scheduler_options={'host': ...}."
    )


def doubt(address: str) -> str:
    """Return why other machines can't reach an address of this one; "" if they may.

    Args:
        address: The address, such as "tcp://10.0.0.1:8786", or with a name.
    """
    host = urlsplit(address).hostname or ""
    try:
        found = {str(each[4][0]) for each in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)}
    except OSError:
        return f"this machine does not know the name {host!r}"
    reasons = [_why_not(each) for each in sorted(found)]
    if not all(reasons):
        return ""
    name = socket.gethostname()
    why = reasons[0] if host in found else f"{host!r} is {', '.join(sorted(found))}, and {reasons[0]}"
    try:
        resolved = socket.gethostbyname(name)
    except OSError:
        return why
    return f"{why}, to which this machine's name, {name!r}, resolves" if resolved in found else why


def _why_not(host: str) -> str:
    address = ipaddress.ip_address(host.partition("%")[0])
    if address.is_loopback:
        return f"{host} is an address inside its machine (loopback)"
    if address.is_link_local:
        return f"{host} is unknown to other networks (link-local)"
    stats = psutil.net_if_stats()
    for name, addresses in psutil.net_if_addrs().items():
        if any(each.address == host for each in addresses) and name in stats and not stats[name].isup:
            return f"{host} belongs to the interface {name}, which is down"
    return ""


def missing_interface(log: str) -> str:
    """Return the fault of the interface that a job's worker should use, as its log reports it; "" for none."""
    found = re.search(
        r"'([^'\n]+)' is not a valid network interface\. Valid network interfaces are: \[([^\]\n]*)\]", log
    )
    if found is None:
        return ""
    there = re.sub(r"['\"]", "", found[2])
    return f"Its node has no network interface {found[1]!r} (worker_interface=): it has {there}."
