"""Runs a call within limits, in a process of its own: what `pynisher.limit(function, ...)(...)` is for.

    the caller: a worker, or a thread            the process of the call: _child
      LimitedFunction(...)  ── fork, or a fresh interpreter ──>  under its limits, it calls the function
      reads until the wall time is over  <──── a pipe ─────────  sends what came of it
      ends it, and what it has started

pynisher sets the limits and has the exceptions, the units, and what each system supports. What
happens around them is done here, since in pynisher 1.0.10

1. a wall-time limit of 1 s takes 6 s: its process does not end by SIGTERM, and SIGKILL comes 5 s later.
   Here SIGKILL comes at once (`_Process.end`).
2. the caller no longer ends by SIGTERM afterwards: a handler is left behind. Here the caller's handlers
   are not touched.
3. daemonic processes, such as dask's workers, cannot limit anything: `multiprocessing` denies them children.
   Here processes are started without it (`_fork`, `_spawn`).
4. an exception whose class takes several arguments becomes a TypeError, since it is made anew of its
   traceback alone. Here `amltk.remote` carries it.
5. in threads, results get lost: a process found dead counts as one without a result, though that is in
   the pipe; and forks of other threads hold pipes open. Here the pipe is read to its end (`_Process.answer`),
   and no other process has it.
6. a result that the function could make, but that can't be pickled within its memory limit, is lost.
   Here the limit is lifted before (`_child`).
7. wall-time limits are rounded to whole seconds, 1.4 s to 1 s. Here they are kept as they are.

As long as one of the first six holds, this module and `_child` stay; when none does, a
`functools.partial(pynisher.limit, ...)` can take their place. `tests/test_pynisher_faults.py` has a test for each.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import re
import select
import signal
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import psutil
from pynisher import CpuTimeoutException, MemoryLimitException, WallTimeoutException

from amltk.exceptions import WorkerDied
from amltk.preparation import child_command, preparation
from amltk.remote import loads
from amltk_pynisher import _child
from amltk_pynisher._limits import Limits
from amltk_pynisher._pickling import dumps_by_value

# How long it takes at most to notice that a process has died while a child of it holds the pipe open.
_LOOK_SECONDS = 0.05
# How long to wait for killed processes to be gone; they are, unless they hang in the kernel.
_GONE_SECONDS = 0.5


class LimitedFunction:
    """A function, each call of which runs in a process of its own, within limits. It can be pickled if that can."""

    def __init__(self, function: Callable[..., Any], limits: Limits, owner: str) -> None:
        """Limit `function`.

        Args:
            function: What is called.
            limits: What each call may use.
            owner: Stands for the plugin, in `stop_calls`.
        """
        self.function = function
        self.limits = limits
        self.owner = owner
        self.__qualname__ = getattr(function, "__qualname__", None) or type(function).__qualname__
        self._sent_by_value = False

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_sent_by_value": True}

    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        """Call the function, within the limits.

        Raises:
            WallTimeoutException: The wall time was over.
            CpuTimeoutException: The cpu time was used up.
            MemoryLimitException: It needed more memory.
            WorkerDied: The process died of something else.
            BaseException: What the function raises.
        """
        wall_time = self.limits.wall_time
        deadline = None if wall_time is None else time.monotonic() + wall_time
        with _running(self._start(args, kwargs), self.owner) as process:
            answer = process.answer(deadline)
        if answer is None:
            raise self._cause_of_death(process)
        succeeded, data = answer
        try:
            outcome = loads(data)
            if not succeeded:
                outcome = outcome.unpack(loads)
        except BaseException as error:
            error.add_note(f"Raised while what came of {self.__qualname__} was unpickled.")
            raise
        if succeeded:
            return outcome
        raise outcome

    def _start(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> _Process:
        call = self.function, args, kwargs
        reader, writer = os.pipe()
        try:
            if _may_fork():
                if not self._sent_by_value:
                    # cloudpickle numbers the classes that it sends by value, and knows them by that when they come
                    # back. After the fork it would be too late for those that the function refers to.
                    with contextlib.suppress(Exception):
                        dumps_by_value(self.function)
                    self._sent_by_value = True
                pid = _fork(writer, self.limits, call)
            else:
                pid = _spawn(writer, self.limits, call, self.__qualname__)
        except BaseException:
            os.close(reader)
            raise
        finally:
            os.close(writer)
        return _Process(pid, reader)

    def _cause_of_death(self, process: _Process) -> Exception:
        name, limits, code = self.__qualname__, self.limits, process.exit_code
        if process.timed_out:
            return WallTimeoutException(f"{name} took longer than its wall-time limit of {limits.wall_time:g} s.")
        if limits.cpu_time is not None and (
            code == -signal.SIGXCPU or (code == -signal.SIGKILL and process.cpu_seconds >= limits.cpu_time)
        ):
            return CpuTimeoutException(f"{name} used more cpu time than its limit of {limits.cpu_time} s.")
        if limits.memory is not None and code in (-signal.SIGSEGV, -signal.SIGABRT):
            return MemoryLimitException(
                f"{name} was ended by {signal.Signals(-code).name} under a memory limit of {limits.memory:,} bytes, "
                "as happens to compiled code that gets no memory."
            )
        how = f"exited with code {code}" if code >= 0 else f"was killed by signal {-code}"
        return WorkerDied(f"The process in which {name} was limited {how}.", pid=process.pid, exit_code=code)


class _Process:
    """The process of one call, as seen by the one that waits for it."""

    def __init__(self, pid: int, reader: int) -> None:
        self.pid = pid
        self.timed_out = False
        self.exit_code = 0
        self.cpu_seconds = 0.0
        self.closing = False
        self._reader = reader
        self._may_have_children = True

    def answer(self, deadline: float | None) -> tuple[bool, bytearray] | None:
        """Wait for what comes of the call: whether it succeeded, and the pickle. None if nothing came."""
        header = _child.HEADER
        received = bytearray()
        needed = header.size
        dead = False
        poll = select.poll()
        poll.register(self._reader, select.POLLIN)
        while len(received) < needed:
            left = _LOOK_SECONDS if deadline is None else min(_LOOK_SECONDS, deadline - time.monotonic())
            if poll.poll(max(0, left) * 1000):
                part = os.read(self._reader, 1 << 20)
                if not part:
                    return None
                received += part
                if needed == header.size <= len(received):
                    succeeded, self._may_have_children, length = header.unpack_from(received)
                    needed += length
                    deadline = None  # the function is done; the rest is up to us
            elif dead:
                return None  # and so nothing of it can be in the pipe any more
            elif left <= 0:
                self.timed_out = True
                return None
            else:
                dead = not _is_alive(self.pid)
        return succeeded, received[header.size :]

    def kill(self) -> None:
        """End it and all that it has started."""
        if self._may_have_children:
            self._kill_descendants()
        for kill in (os.killpg, os.kill):  # also one by one: it may not have got so far as to lead a group
            with contextlib.suppress(ProcessLookupError, PermissionError):
                kill(self.pid, signal.SIGKILL)

    def close(self) -> None:
        """Take note of its end, after `kill`. Until then its id stays its own."""
        os.close(self._reader)
        with contextlib.suppress(ChildProcessError):  # somebody here waits for whatever child there is
            _, status, usage = os.wait4(self.pid, 0)
            self.exit_code = os.waitstatus_to_exitcode(status)
            self.cpu_seconds = usage.ru_utime + usage.ru_stime

    def _kill_descendants(self) -> None:
        until = time.monotonic() + _GONE_SECONDS
        with contextlib.suppress(psutil.Error):
            root = psutil.Process(self.pid)
            root.suspend()  # it starts no more
            while time.monotonic() < until:
                alive = [process for process in root.children(recursive=True) if _is_alive(process.pid)]
                if not alive:
                    return
                for process in alive:
                    with contextlib.suppress(psutil.Error):
                        process.kill()
                time.sleep(0.002)


def _is_alive(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.Error:
        return False


# The processes of this process's calls, by owner, and the owners that want no more of them.
_processes: dict[str, set[_Process]] = {}
_stopped: set[str] = set()
_changed = threading.Condition()


@contextlib.contextmanager
def _running(process: _Process, owner: str) -> Iterator[_Process]:
    """End the process when the block is left, in whatever way."""
    with _changed:
        _processes.setdefault(owner, set()).add(process)
        stopped = owner in _stopped
    try:
        if stopped:
            process.kill()
        yield process
    finally:
        process.kill()
        with _changed:
            process.closing = True
        process.close()
        with _changed:
            _processes[owner].discard(process)
            if not _processes[owner]:
                del _processes[owner]
            _changed.notify_all()


def allow_calls(owner: str) -> None:
    """Let calls of `owner` run in this process, after `stop_calls`."""
    with _changed:
        _stopped.discard(owner)


def stop_calls(owner: str) -> None:
    """End those calls of `owner` that run in threads of this process, and those that are about to."""
    with _changed:
        _stopped.add(owner)
        for process in _processes.get(owner, ()):
            if not process.closing:
                process.kill()
        _changed.wait_for(lambda: owner not in _processes, _GONE_SECONDS)


def _may_fork() -> bool:
    """Say whether a fork of this process can be relied on: another thread's locks would stay locked in it for ever."""
    if sys.platform == "darwin" or threading.active_count() > 1:
        return False
    try:
        # OpenBLAS sees to its threads when there is a fork. OpenMP does not: the first parallel loop would hang.
        threads = list(Path("/proc/self/task").iterdir())
        return len(threads) == 1 or not re.search(rb"/lib[gi]?omp", Path("/proc/self/maps").read_bytes())
    except OSError:
        return True


def _fork(writer: int, limits: Limits, call: _child.Call) -> int:
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):  # else what is in the buffer is printed twice
            stream.flush()
    # All forks would start with the same state of numpy's generator, and draw the same numbers.
    numpy_random = sys.modules.get("numpy.random")
    seed = list(numpy_random.bytes(16)) if numpy_random else None

    def seeded() -> _child.Call:
        if numpy_random:
            numpy_random.seed(seed)
        return call

    parent = os.getpid()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of the threads that _may_fork knows of
        pid = os.fork()
    if pid == 0:
        _child.run(parent, writer, limits, seeded)
    with contextlib.suppress(OSError):  # it did so itself, or is gone
        os.setpgid(pid, pid)
    return pid


def _spawn(writer: int, limits: Limits, call: _child.Call, name: str) -> int:
    module = sys.modules.get("multiprocessing.resource_tracker")
    tracker = module._resource_tracker.__dict__.get("_fd") if module else None  # if there is one
    with tempfile.TemporaryFile(prefix="amltk-pynisher-") as request:
        request.write(preparation(tracker=tracker))
        try:
            request.write(dumps_by_value(tuple(limits)))
            request.write(dumps_by_value(call))
        except (pickle.PicklingError, TypeError, AttributeError) as error:
            msg = f"A limited call runs in another process, and this one of {name} cannot be sent there: {error}"
            raise pickle.PicklingError(msg) from error
        request.seek(0)
        fds = request.fileno(), writer
        process = subprocess.Popen(
            child_command("amltk_pynisher._child:main", *fds),
            stdin=subprocess.DEVNULL,
            pass_fds=fds if tracker is None else (*fds, tracker),
            process_group=0,
        )
    process.returncode = 0  # we wait for it ourselves
    return process.pid
