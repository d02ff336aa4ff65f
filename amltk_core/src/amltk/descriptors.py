"""Pipes and sockets for backends: above the standard descriptors, and without SIGPIPE.

A program may run with descriptor 0, 1 or 2 closed. The next pipe or file gets that number, and output to stderr would
go there. If SIGPIPE has its default action, as in many command-line programs, writing to a closed pipe or socket ends
the program: pass `NO_SIGPIPE` to `send`.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterable

NO_SIGPIPE: int = getattr(socket, "MSG_NOSIGNAL", 0)
"""The flag with which `send` raises `BrokenPipeError` instead of SIGPIPE; 0 on macOS, which lacks it."""

_LOWEST = 3


def above_standard(descriptor: int) -> int:
    """Return the descriptor, or a duplicate above the standard ones that replaces it."""
    if descriptor >= _LOWEST:
        return descriptor
    import fcntl  # Windows lacks it

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
    """Send descriptors as `socket.send_fds` does, which ignores its flags, but without SIGPIPE.

    Raises:
        OSError: The other end is closed.
    """
    from array import array  # imported only by the few workers that need it

    rights = array("i", descriptors)
    sender.sendmsg([data], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)], NO_SIGPIPE)
