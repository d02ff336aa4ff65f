"""The process that runs a limited call.

It sets its limits, calls the function, sends the outcome through a pipe, and is ended by its parent. It
leads a process group of its own, and on Linux it adopts the orphans among its descendants, so its parent
finds all processes that the function has started.
"""

from __future__ import annotations

import contextlib
import ctypes
import math
import os
import pickle
import signal
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any, BinaryIO, NoReturn

from amltk.preparation import Preparation, prepare, set_filters
from amltk_pynisher._handover import Settings, set_seeds
from amltk_pynisher._limits import Limits
from amltk_pynisher._pickling import dumps
from amltk_pynisher._pipe import BEGUN, ERROR, LOADING_COST, RESULT, FrameSender
from amltk_pynisher._records import RecordSender

Call = tuple[Callable[..., Any], tuple[Any, ...], Mapping[str, Any]]

# Seconds that a fresh interpreter may take to load the call, in addition to its limits.
LOADING_SECONDS = 60

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_prctl = ctypes.CDLL(None).prctl if sys.platform == "linux" else None  # before a fork, not after


def run_fork(
    parent: int, pipe: int, limits: Limits, call: Call, seeds: Mapping[str, Any], *, gives_way: bool
) -> NoReturn:
    """Run a call within its limits in this fork, and send its outcome through `pipe`.

    Args:
        parent: The id of the process that waits for the outcome.
        pipe: The descriptor to write to.
        limits: The limits of the call.
        call: Function and arguments.
        seeds: The seeds of random generators.
        gives_way: See `RecordSender.install`.
    """

    def load(_frames: FrameSender) -> Call:
        after_fork = sys.modules.get("multiprocessing.util")
        if after_fork is not None:  # as in its own forks: proxies of a manager need new connections
            after_fork._finalizer_registry.clear()
            after_fork._run_after_forkers()
        set_seeds(seeds)
        if limits.cpu_time is not None:
            _limiter(limits).limit_cpu_time(limits.cpu_time, interval=1)
        return call

    _run(parent, pipe, limits, load, gives_way=gives_way)


def main(data: Preparation, request: int, pipe: int) -> NoReturn:
    """Run the call that the rest of the file `request` describes, in this fresh interpreter.

    Args:
        data: The parent's preparation.
        request: The descriptor of the file.
        pipe: The descriptor to write to.
    """
    signal.pthread_sigmask(signal.SIG_SETMASK, ())  # the thread that started this process may have blocked some
    prepare(data)
    parent = data["parent"]
    with open(request, "rb") as file:
        limits = Limits(*pickle.load(file))
        settings = Settings(*pickle.load(file))
        settings.apply()
        _run(parent, pipe, limits, lambda frames: _load(frames, file, limits, data), gives_way=settings.gives_way)


def _load(frames: FrameSender, file: BinaryIO, limits: Limits, data: Preparation) -> Call:
    if limits.cpu_time is not None:
        _limiter(limits).limit_cpu_time(limits.cpu_time + LOADING_SECONDS, interval=1)
    seeds = pickle.load(file)
    call: Call = pickle.load(file)
    set_filters(data["filters"])  # again: modules come with filters of their own
    set_seeds(seeds)
    cost = time.process_time()
    if limits.cpu_time is not None:
        _limiter(limits).limit_cpu_time(
            limits.cpu_time + math.ceil(cost), interval=1
        )  # the system counts whole seconds
    frames.send(BEGUN, LOADING_COST.pack(cost))
    return call


def _run(parent: int, pipe: int, limits: Limits, load: Callable[[FrameSender], Call], *, gives_way: bool) -> NoReturn:
    """Run the call that `load` returns. An exception of `load` counts as one of the function."""
    code = 1
    try:
        _settle_in(parent)
        frames = FrameSender(pipe)
        RecordSender(frames).install(gives_way=gives_way)
        try:
            outcome = _outcome(limits, lambda: load(frames))
        except BaseException as error:  # an alarm of the function, after its end
            outcome = False, error
        _send(frames, *outcome)
        code = 0
        while _has_children():  # the parent ends them, and finds them through this process
            signal.pause()
    finally:
        os._exit(code)  # skips the exit functions, which are the parent's


def _settle_in(parent: int) -> None:
    # A fork has its parent's handlers, and reports its signals to the parent's event loop.
    signal.set_wakeup_fd(-1)
    for number in signal.valid_signals():
        if callable(signal.getsignal(number)):
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)  # a background process that reads from a terminal is stopped
    with contextlib.suppress(PermissionError):  # the parent was faster: this process leads its group
        os.setpgid(0, 0)
    if _prctl is not None:
        _prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)  # the parent died before PDEATHSIG was set


def _outcome(limits: Limits, call: Callable[[], Call]) -> tuple[bool, object]:
    lift: Callable[[], None] = _nothing
    try:
        function, args, kwargs = call()
        if limits.memory is not None:
            lift = _limit_memory(limits)
        outcome = True, function(*args, **kwargs)
        _ignore_signals()
    except BaseException as error:  # also SystemExit and KeyboardInterrupt: they end the call only
        _ignore_signals()
        lift()  # else there is no memory to report it
        outcome = False, _translated(error, limits)
    lift()  # the function kept its limit; pickling its result does not count
    return outcome


def _ignore_signals() -> None:
    """Disable all handlers: an alarm that the function has left must not end its process."""
    for number in signal.valid_signals():
        if callable(signal.getsignal(number)):
            signal.signal(number, signal.SIG_IGN)


def _limiter(limits: Limits) -> Any:
    from amltk_pynisher._library import pynisher

    return pynisher.limiters.Limiter.create(func=_nothing, output=None, memory=limits.memory, cpu_time=limits.cpu_time)  # type: ignore[arg-type] # it sends nothing here


def _limit_memory(limits: Limits) -> Callable[[], None]:
    """Limit the memory, and return a function that lifts the limit."""
    import resource

    limiter = _limiter(limits)
    limiter.limit_memory(limits.memory)
    return lambda: resource.setrlimit(resource.RLIMIT_AS, limiter.old_limits)


def _translated(error: BaseException, limits: Limits) -> BaseException:
    if limits.memory is None or not isinstance(error, MemoryError):
        return error
    from amltk_pynisher._library import pynisher

    exceeded = pynisher.MemoryLimitException(f"Needed more memory than its limit of {limits.memory:,} bytes.")
    exceeded.__cause__ = error
    return exceeded


def _send(frames: FrameSender, succeeded: bool, value: Any) -> None:
    if succeeded:
        try:
            data = dumps(value)
        except Exception as error:
            from amltk.exceptions import text_of  # only a call that fails pays for it

            succeeded = False
            value = pickle.PicklingError(
                f"The result of the call, of type {type(value).__qualname__}, cannot be pickled, so it cannot leave "
                f"the process of the call: {text_of(error)}"
            )
            value.__cause__ = error
    if not succeeded:
        from amltk.remote import dump_exception  # only a call that fails pays for it

        data = dump_exception(value, dumps)
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):  # the function may have closed or replaced it
            stream.flush()
    frames.send(RESULT if succeeded else ERROR, data, has_children=_has_children())


def _has_children() -> bool:
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    except AttributeError:  # macOS, before Python 3.13
        return True
    return True


def _nothing() -> None:
    pass
