"""Pipes and sockets above the standard descriptors; in a process of their own, whose standard ones can be closed."""

from __future__ import annotations

import subprocess
import sys

import pytest

SCRIPT = """
import os, resource, signal, socket, sys
from amltk import descriptors
out = os.dup(1)
for fd in map(int, sys.argv[1:]):
    os.close(fd)
signal.signal(signal.SIGPIPE, signal.SIG_DFL)
reader, writer = descriptors.pipe()
one, other = descriptors.socketpair()
made = [reader, writer, one.fileno(), other.fileno()]
assert min(made) > 2 and len(set(made)) == 4, made
assert not any(map(os.get_inheritable, made))
assert one.gettimeout() is None and other.family == socket.AF_UNIX
os.write(writer, b"x")
descriptors.send_fds(one, b"y", [reader])
data, (received,), _, _ = socket.recv_fds(other, 1, 1)
assert (data, os.read(received, 1)) == (b"y", b"x")
other.close()
for send in (lambda: one.send(b"z", descriptors.NO_SIGPIPE), lambda: descriptors.send_fds(one, b"z", [writer])):
    try:
        send()
    except BrokenPipeError:
        os.write(out, b"raised ")
for fd in made[:2]:
    os.close(fd)
one.close()
there = set(os.listdir("/proc/self/fd"))
limit = resource.getrlimit(resource.RLIMIT_NOFILE)
for make in (descriptors.pipe, descriptors.socketpair):
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, limit[1]))  # what is made can't be lifted
    try:
        make()
    except OSError:
        os.write(out, b"refused ")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limit)
assert set(os.listdir("/proc/self/fd")) == there
"""


@pytest.mark.parametrize("closed", [[], [0], [1], [2], [0, 1], [0, 2], [1, 2], [0, 1, 2]])
def test_what_is_made_is_above_the_standard_descriptors_and_raises_no_sigpipe(closed: list[int]) -> None:
    command = [sys.executable, "-c", SCRIPT, *map(str, closed)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, done.stdout) == (0, "raised raised refused refused "), done.stderr
