"""A worker of a local cluster, as a process, and another small process that guards it.

    main process                    guard                          worker
                                    leads a session, waits         leads another one, runs calls

    options, pickled ─── pipe ────> starts the worker ───────────> distributed.Worker
    ends, or dies    ─── pipe ────> kills the worker's session,
                                    removes its scratch directory
                     <── pipe ─────────────────────────────────── what faulthandler writes
                     <── pipe ───── pid, and how the worker ended

The guard imports nothing of dask and runs nothing of the user's, so it is there whatever a call does. It starts the
worker while it has no threads, and the main script is not imported anywhere.
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


def guard(data: Preparation, life: int, report: int, notes: int, service: int) -> None:
    """Start a worker and stay with it; what a process of its own does.

    Args:
        data: What the main process hands down.
        life: Where the worker's options come from; its end is the end of the main process.
        report: Where the worker's pid is told, and its end.
        notes: For what faulthandler writes.
        service: See `ProgramService.for_workers`.
    """
    parent = os.getppid()
    source = os.fdopen(life, "rb", buffering=0)
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
        for each in (life, awake, wake, ask):
            os.close(each)
        os.set_inheritable(service, False)
        _be_worker(data, options, asked, report, notes, service)
    os.close(asked)
    os.close(notes)
    os.close(service)
    write_report(report, {"pid": pid})
    _wait(life, awake, ask)
    # Not reaped yet, so nobody else has its number.
    os.kill(pid, signal.SIGKILL)  # it leads no group yet if it has just been started
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    with contextlib.suppress(OSError):  # the main process may be gone
        write_report(report, {"exit_code": os.waitstatus_to_exitcode(status)})
    shutil.rmtree(scratch, ignore_errors=True)
    with contextlib.suppress(OSError):  # another one has removed it
        if os.getppid() != parent and not any(map(str.isdigit, os.listdir(home))):  # noqa: PTH208 - likewise
            shutil.rmtree(home)
    os._exit(0)


def _wait(life: int, awake: int, ask: int) -> None:
    """Come back when the worker has ended, or has to be ended."""
    end = None
    poll = select.poll()  # `select` knows no descriptor above 1023
    for pipe in (life, awake):
        poll.register(pipe, select.POLLIN)
    while not _has_ended():
        seconds = None if end is None else max(0.0, end - time.monotonic())
        ready = [pipe for pipe, _ in poll.poll(None if seconds is None else 1000 * seconds)]
        if not ready:
            return
        if life in ready:
            if not os.read(life, 1):
                return
            poll.unregister(life)
            os.close(ask)  # it is asked to, so there is time
            end = time.monotonic() + GRACE
        if awake in ready:
            os.read(awake, 64)


def _has_ended() -> bool:
    """Whether the worker has ended, not only stopped."""
    return os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def _be_worker(data: Preparation, options: dict[str, Any], asked: int, report: int, notes: int, service: int) -> None:
    code = 1
    try:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGCHLD):
            signal.signal(number, signal.SIG_DFL)
        os.setsid()  # so that all that calls start can be found
        del data["filters"]  # they would be for dask's own threads, too
        prepare(data)
        name = options["name"]
        become_child(data, name + 1 if isinstance(name, int) else 1, service)
        from amltk_dask import _serve  # dask is imported by the worker alone

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
