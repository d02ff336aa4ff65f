"""What authors of backends need to tell what became of a worker process."""

from __future__ import annotations

import os
import re
import signal
import sys
import time
from collections.abc import Iterator

# Seconds for which a kill that was counted explains the deaths that come.
_LATELY = 1.0

# People and batch systems end programs in these ways, which are no crashes.
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
    """Return what is known of the end of a process, as the end of a sentence about it.

    Args:
        code: Its exit code, negative for a signal; None if it isn't known.
        out_of_memory: Whether the kernel killed it because memory ran out; None if that can't be known.
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
    """Return the most memory that this process has held so far, in bytes; None where the system does not tell.

    On Linux, that of a program that another one starts is at least what that one held then.
    """
    try:
        import resource
    except ImportError:  # Windows
        return None
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def kill_on_pipe_close(pipe: int) -> None:
    """Have the kernel kill this process, and its group, when a pipe ends: then who holds its other end has died.

    It does so whatever compiled code does then. Linux only.

    Args:
        pipe: The descriptor of the end that is read, of which no other process uses the same opening.
    """
    import fcntl  # what is above works everywhere
    import select

    fcntl.fcntl(pipe, fcntl.F_SETOWN, -os.getpgid(0))
    fcntl.fcntl(pipe, fcntl.F_SETSIG, signal.SIGKILL)
    fcntl.fcntl(pipe, fcntl.F_SETFL, fcntl.fcntl(pipe, fcntl.F_GETFL) | os.O_ASYNC)
    poll = select.poll()  # `select` knows no descriptor above 1023
    poll.register(pipe, select.POLLIN)
    if poll.poll(0):  # it was over before
        os.killpg(0, signal.SIGKILL)


class OomKills:
    """Watches the kernel's count: that of this process's memory cgroup, or else that of the machine."""

    def __init__(self, *sources: str) -> None:
        """Begin to watch; a kill before counts for nothing.

        Args:
            sources: Files to look into, the first that tells is taken; by default those of the kernel.
        """
        self._risen_at = float("-inf")
        for source in sources or _sources():
            self._source = source
            self._seen = self._count()
            if self._seen is not None:
                return

    def recent(self) -> bool | None:
        """Whether the kernel ended something a moment ago because memory ran out; None if it doesn't tell."""
        count = self._count()
        if count is None:
            return None
        if count != self._seen:
            self._seen = count
            self._risen_at = time.monotonic()
        return time.monotonic() - self._risen_at < _LATELY

    def explain(self, exit_code: int | None) -> bool | None:
        """Whether a process that ended with this code was killed because memory ran out; None if the kernel can't tell.

        Args:
            exit_code: Of a process that ended a moment ago, negative for a signal.
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
    # In a container, where the paths are those outside of it.
    yield f"{root}/memory.events"
    yield f"{root}/memory/memory.oom_control"
    yield "/proc/vmstat"
