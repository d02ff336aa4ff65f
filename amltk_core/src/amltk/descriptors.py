"""Descriptors for backends: they are above the standard ones, and a peer that is gone sends no signal.

A program may run with descriptor 0, 1 or 2 closed. What is opened next gets that number, and whoever writes to stderr
then writes there. Where SIGPIPE has its default, as in many command-line programs, to write to whom nobody reads ends
the program: pass `NO_SIGPIPE` to whatever sends.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterable

NO_SIGPIPE: int = getattr(socket, "MSG_NOSIGNAL", 0)
"""The flag with which to send raises `BrokenPipeError`, whatever SIGPIPE does; macOS has none."""

_LOWEST = 3


def above_standard(descriptor: int) -> int:
    """Return a descriptor that is above the standard ones: the same, or one in its place."""
    if descriptor >= _LOWEST:
        return descriptor
    import fcntl  # which Windows lacks, as it lacks such programs

    try:
        return fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, _LOWEST)
    finally:
        os.close(descriptor)


def pipe() -> tuple[int, int]:
    """Make a pipe as `os.pipe` does, above the standard descriptors."""
    reader, writer = os.pipe()
    try:
        reader = above_standard(reader)
    except OSError:
        os.close(writer)
        raise
    try:
        return reader, above_standard(writer)
    except OSError:
        os.close(reader)
        raise


def socketpair() -> tuple[socket.socket, socket.socket]:
    """Make a pair of sockets as `socket.socketpair` does, above the standard descriptors."""
    one, other = socket.socketpair()
    try:
        return _lifted(one), _lifted(other)
    except OSError:
        one.close()
        other.close()
        raise


def _lifted(end: socket.socket) -> socket.socket:
    if end.fileno() >= _LOWEST:
        return end
    timeout = end.gettimeout()
    lifted = socket.socket(end.family, end.type, end.proto, fileno=above_standard(end.detach()))
    lifted.settimeout(timeout)
    return lifted


def send_fds(sender: socket.socket, data: bytes, descriptors: Iterable[int]) -> None:
    """Do as `socket.send_fds` does, which takes flags and forgets them, and raise no SIGPIPE.

    Raises:
        OSError: The other end is closed.
    """
    from array import array  # few workers need it

    rights = array("i", descriptors)
    sender.sendmsg([data], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)], NO_SIGPIPE)
