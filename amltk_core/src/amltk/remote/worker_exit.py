"""Tells how a worker process ended, for authors of backends."""

from __future__ import annotations

import os
import re
import signal
import sys
import time
from collections.abc import Iterator

# Seconds for which a counted kill explains the exits that follow.
_LATELY = 1.0

# People and batch systems end programs with these signals, which are no crashes.
_ASKED = "was asked to end by {name}, as batch systems do when the time is up or the machine is needed"

_WHY = {
    **dict.fromkeys(("SIGTERM", "SIGUSR1", "SIGUSR2", "SIGHUP", "SIGINT"), _ASKED),
    "SIGXCPU": "was ended by {name}: its limit of CPU time was used up",
    **dict.fromkeys(("SIGSEGV", "SIGBUS", "SIGFPE", "SIGILL", "SIGABRT", "SIGSYS"), "crashed ({name}: {text})"),
}
_WHY_KILLED = {
    True: "was killed by SIGKILL because memory ran out: have fewer workers or smaller calls, or ask for more memory",
    False: "was killed by SIGKILL, which somebody sent: the kernel reports no lack of memory",
    None: "was killed by SIGKILL, perhaps because memory ran out",
}


def describe_exit(code: int | None, out_of_memory: bool | None = None) -> str:
    """Return how a process ended, as the end of a sentence about it.

    Args:
        code: Its exit code, negative for a signal; None if unknown.
        out_of_memory: Whether the kernel killed it because memory ran out; None if unknown.
    """
    if code is None:
        return "is gone"
    if code >= 0:
        return f"exited with code {code}"
    if -code == getattr(signal, "SIGKILL", 9):  # Windows has none
        return _WHY_KILLED[out_of_memory]
    try:
        name = signal.Signals(-code).name
    except ValueError:  # a real-time signal
        name = f"signal {-code}"
    return _WHY.get(name, "was killed by {name}").format(name=name, text=signal.strsignal(-code))


def peak_memory() -> int | None:
    """Return this process's peak memory in bytes; None where the system does not report it.

    On Linux, a process that another one starts begins with the peak of its parent.
    """
    try:
        import resource
    except ImportError:  # Windows
        return None
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def kill_on_pipe_close(pipe: int) -> None:
    """Have the kernel kill this process and its group when a pipe closes because the process at its other end died.

    This works even while compiled code runs. Linux only.

    Args:
        pipe: The descriptor of the read end. No other process may share its open file description.
    """
    import fcntl  # the rest of the module works on every system
    import select

    fcntl.fcntl(pipe, fcntl.F_SETOWN, -os.getpgid(0))
    fcntl.fcntl(pipe, fcntl.F_SETSIG, signal.SIGKILL)
    fcntl.fcntl(pipe, fcntl.F_SETFL, fcntl.fcntl(pipe, fcntl.F_GETFL) | os.O_ASYNC)
    poll = select.poll()  # `select` can't handle a descriptor above 1023
    poll.register(pipe, select.POLLIN)
    if poll.poll(0):  # it was closed before
        os.killpg(0, signal.SIGKILL)


class OomKills:
    """Watches the kernel's count of out-of-memory kills: that of this process's memory cgroup, or of the machine."""

    def __init__(self, *sources: str) -> None:
        """Start to watch; earlier kills do not count.

        Args:
            sources: Files to try in order; the first with a count is used. By default, those of the kernel.
        """
        self._risen_at = float("-inf")
        for source in sources or _sources():
            self._source = source
            self._seen = self._count()
            if self._seen is not None:
                return

    def recent(self) -> bool | None:
        """Whether memory ran out and the kernel killed a process a moment ago; None if the kernel doesn't report it."""
        count = self._count()
        if count is None:
            return None
        if count != self._seen:
            self._seen = count
            self._risen_at = time.monotonic()
        return time.monotonic() - self._risen_at < _LATELY

    def explain(self, exit_code: int | None) -> bool | None:
        """Whether memory ran out and the kernel killed a process with this exit code; None if it doesn't report it.

        Args:
            exit_code: The code of a process that ended a moment ago, negative for a signal.
        """
        return self.recent() if exit_code == -getattr(signal, "SIGKILL", 9) else False

    def _count(self) -> int | None:
        try:
            with open(self._source) as file:  # noqa: PTH123 - pathlib takes long to import
                found = re.search(r"^oom_kill (\d+)", file.read(), re.MULTILINE)
        except OSError:
            return None
        return int(found[1]) if found else None


def _sources() -> Iterator[str]:
    root = "/sys/fs/cgroup"
    try:
        with open("/proc/self/cgroup") as file:  # noqa: PTH123 - likewise
            groups = file.read().splitlines()
    except OSError:
        groups = []
    for line in groups:
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            yield f"{root}{path}/memory.events"
        elif "memory" in controllers.split(","):
            yield f"{root}/memory{path}/memory.oom_control"
    # In a container, where the paths are those of the host.
    yield f"{root}/memory.events"
    yield f"{root}/memory/memory.oom_control"
    yield "/proc/vmstat"
