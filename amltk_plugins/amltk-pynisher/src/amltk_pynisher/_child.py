"""What happens in the process that runs a limited call.

It stands under its limits, calls the function, sends what came of it through a pipe, and is ended.
It leads a process group of its own, and on Linux it is who inherits the orphans among its
descendants: so whoever ends it finds all that the function has started.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import pickle
import signal
import struct
import sys
from collections.abc import Callable, Mapping
from typing import Any, BinaryIO, NoReturn

from amltk.preparation import Preparation, prepare, when_imported
from amltk_pynisher._limits import Limits
from amltk_pynisher._pickling import dumps

Call = tuple[Callable[..., Any], tuple[Any, ...], Mapping[str, Any]]

# Whether the function returned, whether processes are left that it has started, how long the pickle is.
HEADER = struct.Struct("=??Q")

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_prctl = ctypes.CDLL(None).prctl if sys.platform == "linux" else None  # before a fork, not after


def run(parent: int, pipe: int, limits: Limits, call: Callable[[], Call]) -> NoReturn:
    """Run the call that `call` returns, within its limits, and send what comes of it through `pipe`.

    Args:
        parent: The process that waits for it.
        pipe: The end to write to.
        limits: What the call may use.
        call: Returns function and arguments; what it raises counts as raised by the function.
    """
    code = 1
    try:
        _settle_in(parent)
        _send(pipe, *_outcome(limits, call))
        code = 0
        while _has_children():  # our parent ends them, and finds them through us
            signal.pause()
    finally:
        os._exit(code)  # whatever our parent would do when it exits is not ours to do


def main(data: Preparation, request: int, pipe: int) -> NoReturn:
    """Be a fresh interpreter which runs the call that the rest of the file `request` describes.

    Args:
        data: What the parent hands down, with the descriptor of its resource tracker, if it has one, as `tracker`.
        request: The file.
        pipe: The end to write to.
    """
    signal.pthread_sigmask(signal.SIG_SETMASK, ())  # the thread that started us may have blocked some
    prepare(data)
    if (tracker := data["tracker"]) is not None:
        os.set_inheritable(tracker, False)
        when_imported(
            "multiprocessing.resource_tracker", lambda module: vars(module._resource_tracker).update(_fd=tracker)
        )
    parent = data["parent"]
    with open(request, "rb") as file:
        limits = Limits(*pickle.load(file))
        run(parent, pipe, limits, lambda: _load(file))


def _load(file: BinaryIO) -> Call:
    call: Call = pickle.load(file)
    return call


def _settle_in(parent: int) -> None:
    # A fork has its parent's handlers, and tells the parent's event loop of the signals that it gets.
    signal.set_wakeup_fd(-1)
    for number in signal.valid_signals():
        if callable(signal.getsignal(number)):
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)  # in the background, whoever reads from a terminal is stopped
    with contextlib.suppress(PermissionError):  # we are the leader already, if the parent was faster
        os.setpgid(0, 0)
    if _prctl is not None:
        _prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)  # it died before it could take us with it


def _outcome(limits: Limits, call: Callable[[], Call]) -> tuple[bool, object]:
    lift: Callable[[], None] = _nothing
    try:
        if limits.cpu_time is not None:
            _limiter(limits).limit_cpu_time(limits.cpu_time, interval=1)
        function, args, kwargs = call()
        if limits.memory is not None:
            lift = _limit_memory(limits)
        outcome = True, function(*args, **kwargs)
    except BaseException as error:  # also SystemExit and KeyboardInterrupt: it is the call that ends
        lift()  # else there is no memory to say so
        outcome = False, _translated(error, limits)
    lift()  # the function has kept to its limit: that what it returned must be pickled is not its fault
    return outcome


def _limiter(limits: Limits) -> Any:
    from pynisher.limiters import Limiter

    return Limiter.create(func=_nothing, output=None, memory=limits.memory, cpu_time=limits.cpu_time)  # type: ignore[arg-type] # it does not send here


def _limit_memory(limits: Limits) -> Callable[[], None]:
    """Limit the memory, and return what lifts the limit."""
    import resource

    limiter = _limiter(limits)
    limiter.limit_memory(limits.memory)
    return lambda: resource.setrlimit(resource.RLIMIT_AS, limiter.old_limits)


def _translated(error: BaseException, limits: Limits) -> BaseException:
    if limits.memory is None or not isinstance(error, MemoryError):
        return error
    from pynisher import MemoryLimitException

    exceeded = MemoryLimitException(f"Needed more memory than its limit of {limits.memory:,} bytes.")
    exceeded.__cause__ = error
    return exceeded


def _send(pipe: int, succeeded: bool, value: Any) -> None:
    if succeeded:
        try:
            data = dumps(value)
        except Exception as error:
            succeeded = False
            value = pickle.PicklingError(
                f"What the call returned, of type {type(value).__qualname__}, cannot be pickled, and so it "
                f"cannot leave the process in which the call was limited: {error}"
            )
            value.__cause__ = error
    if not succeeded:
        from amltk.remote import dump_exception  # only a call that fails pays for it

        data = dump_exception(value, dumps)
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):  # the function may have closed or replaced it
            stream.flush()
    for part in (HEADER.pack(succeeded, _has_children(), len(data)), data):
        left = memoryview(part)
        while left:
            left = left[os.write(pipe, left) :]


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
