"""Runs a call within limits in a process of its own, in place of `pynisher.limit(function, ...)(...)`.

    the caller: a worker, or a thread            the process of the call: _child
      LimitedFunction(...)  ── fork, or a fresh interpreter ──>  under its limits, it calls the function
      reads until the wall time is over  <── a pipe: _pipe ────  sends what it logs, and its outcome
      ends it, and what it has started

pynisher sets the limits, and provides the exceptions, the units, and what each system supports. This
package does the rest, because in pynisher 1.0.10

1. a wall-time limit of 1 s takes 6 s: its process does not end by SIGTERM, and SIGKILL comes 5 s later.
   Here SIGKILL comes at once (`CallProcess.kill`).
2. the caller ignores SIGTERM afterwards, because a handler remains. Here the caller's handlers stay unchanged.
3. daemonic processes, such as dask's workers, can't use limits: `multiprocessing` denies them children.
   Here processes start without it (`_fork`, `_spawn`).
4. an exception whose class takes several arguments becomes a TypeError, because it is rebuilt from its
   traceback alone. Here `amltk.remote` carries it.
5. in threads, results get lost: a dead process counts as one without a result although the pipe has it, and
   forks of other threads hold pipes open. Here the pipe is read to its end (`CallProcess.answer`), and no
   other process has it.
6. a result that can't be pickled within the memory limit is lost. Here the limit is lifted before (`_child`).
7. wall-time limits are rounded to whole seconds, 1.4 s to 1 s. Here they are exact.

`tests/test_pynisher_faults.py` has a test for each. When the first six are fixed, a
`functools.partial(pynisher.limit, ...)` can replace this module and `_child`.
"""

from __future__ import annotations

import contextlib
import logging
import os
import pickle
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from amltk.exceptions import WorkerDied, add_note
from amltk.forks import fork
from amltk.preparation import child_command, preparation
from amltk.remote import loads
from amltk_pynisher import _child, _forking, _records
from amltk_pynisher._handover import Settings, draw_seeds
from amltk_pynisher._library import pynisher
from amltk_pynisher._limits import Limits
from amltk_pynisher._pickling import dumps_by_value
from amltk_pynisher._process import GONE_SECONDS, CallProcess

# The cpu seconds that the start of a fresh interpreter may take without a warning.
_MANY_SECONDS = 0.5

_log = logging.getLogger("amltk_pynisher")


class LimitedFunction:
    """A function whose calls run within limits, each in a process of its own. Can be pickled if the function can."""

    def __init__(self, function: Callable[..., Any], limits: Limits, owner: str) -> None:
        """Limit `function`.

        Args:
            function: The function to call.
            limits: The limits of each call.
            owner: Identifies the plugin for `stop_calls`.
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
            pynisher.WallTimeoutException: The call exceeded its wall time.
            pynisher.CpuTimeoutException: It exceeded its cpu time.
            pynisher.MemoryLimitException: It needed more memory.
            WorkerDied: The process died for another reason.
            BaseException: The function raised it.
        """
        with _running(self._start(args, kwargs), self.owner) as process:
            answer = process.answer(self.limits.wall_time, self.function)
        if process.loading_cost > _MANY_SECONDS:
            _warn_of_loading(self.__qualname__, process)
        if answer is None:
            raise self._cause_of_death(process)
        succeeded, data = answer
        try:
            outcome = loads(data)
            if not succeeded:
                outcome = outcome.unpack(loads)
        except BaseException as error:
            add_note(error, f"Raised while the outcome of {self.__qualname__} was unpickled.")
            raise
        if succeeded:
            return outcome
        raise outcome

    def _start(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> CallProcess:
        call = self.function, args, kwargs
        obstacle = _forking.obstacle()
        reader, writer = os.pipe()
        try:
            if obstacle is None:
                if not self._sent_by_value:
                    # cloudpickle numbers the classes that it sends by value, and recognizes them by number when they
                    # come back. It has to number those that the function refers to before the fork.
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
        return CallProcess(pid, reader, obstacle)

    def _cause_of_death(self, process: CallProcess) -> Exception:
        name, limits, code = self.__qualname__, self.limits, process.exit_code
        if process.closed_pipe:
            return WorkerDied(
                f"{name} has closed all descriptors, its process's pipe included, so its outcome cannot arrive.",
                pid=process.pid,
                exit_code=code,
            )
        if process.timed_out:
            return pynisher.WallTimeoutException(
                f"{name} took longer than its wall-time limit of {limits.wall_time:g} s.{process.fresh_interpreter}"
            )
        if limits.cpu_time is not None and (
            code == -signal.SIGXCPU or (code == -signal.SIGKILL and process.cpu_seconds >= limits.cpu_time)
        ):
            return pynisher.CpuTimeoutException(
                f"{name} used more cpu time than its limit of {limits.cpu_time} s.{process.fresh_interpreter}"
            )
        if limits.memory is not None and code in (-signal.SIGSEGV, -signal.SIGABRT):
            return pynisher.MemoryLimitException(
                f"{name} was ended by {signal.Signals(-code).name} under a memory limit of {limits.memory:,} bytes, "
                "as compiled code is that gets no memory."
            )
        how = f"exited with code {code}" if code >= 0 else f"was killed by signal {-code}"
        return WorkerDied(f"The process that ran {name} within limits {how}.", pid=process.pid, exit_code=code)


# The processes of the calls of this process, by owner, and the owners whose calls are stopped.
_processes: dict[str, set[CallProcess]] = {}
_stopped: set[str] = set()
_changed = threading.Condition()


@contextlib.contextmanager
def _running(process: CallProcess, owner: str) -> Iterator[CallProcess]:
    """End the process at the end of the block, however it ends."""
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
    """Let calls of `owner` run in this process again, after `stop_calls`."""
    with _changed:
        _stopped.discard(owner)


def stop_calls(owner: str) -> None:
    """End calls of `owner` in threads of this process, including those that are about to start."""
    with _changed:
        _stopped.add(owner)
        for process in _processes.get(owner, ()):
            if not process.closing:
                process.kill()
        _changed.wait_for(lambda: owner not in _processes, GONE_SECONDS)


_warned = threading.Lock()


def _warn_of_loading(name: str, process: CallProcess) -> None:
    if _warned.acquire(blocking=False):  # never released: one warning in a process
        _log.warning(
            "Each limited call of %s needs %.1f s of computing before it begins: it runs in a fresh interpreter, which "
            "imports its modules anew, because %s. This time does not count for its limits.",
            name,
            process.loading_cost,
            process.obstacle,
        )


def _fork(writer: int, limits: Limits, call: _child.Call) -> int:
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):  # else the fork prints the buffer again
            stream.flush()
    seeds = draw_seeds()
    gives_way = _records.gives_way()
    parent = os.getpid()
    pid = fork()
    if pid == 0:
        _child.run_fork(parent, writer, limits, call, seeds, gives_way=gives_way)
    with contextlib.suppress(OSError):  # the fork did so itself, or is gone
        os.setpgid(pid, pid)
    return pid


def _spawn(writer: int, limits: Limits, call: _child.Call, name: str) -> int:
    with tempfile.TemporaryFile(prefix="amltk-pynisher-") as request:
        request.write(preparation())
        try:
            settings = Settings.of_this_process()
            request.write(pickle.dumps(tuple(limits)))
            request.write(pickle.dumps(tuple(settings)))
            request.write(pickle.dumps(draw_seeds()))
            request.write(dumps_by_value(call))
        except (pickle.PicklingError, TypeError, AttributeError) as error:
            msg = f"A limited call runs in another process, and this call of {name} cannot be sent there: {error}"
            raise pickle.PicklingError(msg) from error
        request.seek(0)
        fds = request.fileno(), writer
        process = subprocess.Popen(
            child_command("amltk_pynisher._child:main", *fds),
            stdin=subprocess.DEVNULL,
            pass_fds=[*fds, *settings.descriptors],
            process_group=0,
        )
    process.returncode = 0  # we wait for it ourselves
    return process.pid
