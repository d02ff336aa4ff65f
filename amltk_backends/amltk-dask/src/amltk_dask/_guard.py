"""A process that guards a worker of a local cluster, and the start of that worker.

    main process                    guard                          worker
                                    leads a session, waits         leads its own session, runs calls

    options, pickled ─── pipe ────> starts the worker ───────────> distributed.Worker
    ends, or dies    ─── pipe ────> kills the worker's session,
                                    removes its scratch directory
                     <── pipe ─────────────────────────────────── faulthandler's output
                     <── pipe ───── pid, and how the worker ended

The guard does not import dask and runs no code of the user's, so no call can harm it. It starts the worker while it has
no threads. Neither process imports the main script.
"""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import signal
import sys
import time
from typing import Any

from amltk.forks import fork
from amltk.preparation import Preparation, become_child, prepare
from amltk_dask._guard_messages import GRACE, read_options, write_report


def guard(data: Preparation, parent_pipe: int, report: int, notes: int, service: int) -> None:
    """Start a worker and guard it until it ends; the main function of the guard's process.

    Args:
        data: The preparation that the main process sends.
        parent_pipe: Brings the worker's options; it closes when the main process ends.
        report: Takes the worker's pid and exit.
        notes: Takes faulthandler's output.
        service: See `ProgramService.for_workers`.
    """
    parent = os.getppid()
    source = os.fdopen(parent_pipe, "rb", buffering=0)
    options = read_options(source)
    home = options["local_directory"]
    scratch = options["local_directory"] = f"{home}/{os.getpid()}"
    os.mkdir(scratch)  # noqa: PTH102 - pathlib takes long to import
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    awake, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(wake)
    asked, ask = os.pipe()
    pid = fork()
    if pid == 0:
        signal.set_wakeup_fd(-1)
        for each in (parent_pipe, awake, wake, ask):
            os.close(each)
        os.set_inheritable(service, False)
        _be_worker(data, options, asked, report, notes, service)
    os.close(asked)
    os.close(notes)
    os.close(service)
    write_report(report, {"pid": pid})
    _wait(parent_pipe, awake, ask)
    # Not reaped yet, so no other process has its number.
    os.kill(pid, signal.SIGKILL)  # it leads no group yet if it has only just started
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    with contextlib.suppress(OSError):  # the main process may be gone
        write_report(report, {"exit_code": os.waitstatus_to_exitcode(status)})
    shutil.rmtree(scratch, ignore_errors=True)
    with contextlib.suppress(OSError):  # another guard has removed it
        if os.getppid() != parent and not any(map(str.isdigit, os.listdir(home))):  # noqa: PTH208 - likewise
            shutil.rmtree(home)
    os._exit(0)


def _wait(parent_pipe: int, awake: int, ask: int) -> None:
    """Wait until the worker has ended, or must be ended."""
    end = None
    poll = select.poll()  # `select` can't handle a descriptor above 1023
    for pipe in (parent_pipe, awake):
        poll.register(pipe, select.POLLIN)
    while not _has_ended():
        seconds = None if end is None else max(0.0, end - time.monotonic())
        ready = [pipe for pipe, _ in poll.poll(None if seconds is None else 1000 * seconds)]
        if not ready:
            return
        if parent_pipe in ready:
            if not os.read(parent_pipe, 1):
                return
            poll.unregister(parent_pipe)
            os.close(ask)  # this asks the worker to end, within the grace period
            end = time.monotonic() + GRACE
        if awake in ready:
            os.read(awake, 64)


def _has_ended() -> bool:
    """Whether the worker has ended; False if it is only stopped."""
    return os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def _be_worker(data: Preparation, options: dict[str, Any], asked: int, report: int, notes: int, service: int) -> None:
    code = 1
    try:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGCHLD):
            signal.signal(number, signal.SIG_DFL)
        os.setsid()  # so that every process that calls start can be found
        del data["filters"]  # they would apply to dask's own threads, too
        prepare(data)
        name = options["name"]
        become_child(data, name + 1 if isinstance(name, int) else 1, service)
        from amltk_dask import _serve  # only the worker imports dask

        _serve.serve(options, asked, notes, lambda: write_report(report, {"pid": os.getpid(), "connected": True}))
        code = 0
    except KeyboardInterrupt:
        code = 130
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)
