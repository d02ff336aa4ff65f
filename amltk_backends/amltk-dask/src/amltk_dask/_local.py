"""A `LocalCluster` whose workers are processes that report how they end, and whose process trees end with them."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import json
import logging
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from concurrent.futures import BrokenExecutor
from typing import Any, BinaryIO

import dask
from distributed import Client, LocalCluster
from distributed.deploy.spec import ProcessInterface

from amltk.cpus import cpu_count
from amltk.preparation import child_command, preparation, python_executable
from amltk.program_service import ProgramService
from amltk.remote.process_tree import end_process_trees
from amltk.remote.worker_errors import WorkerExit
from amltk.remote.worker_exit import OomKills, describe_exit
from amltk_dask._errors import Worker
from amltk_dask._guard_messages import END_OF_REASON, send_options
from amltk_dask.cluster_config import NO_PAGES, NO_PROFILE
from amltk_dask.executor import DaskExecutor
from amltk_dask.tls import security_of

_MOST_NOTES = 1 << 16
_TRIES = 3
_LONGEST_PAUSE = 30.0
_KILLED = {-signal.SIGKILL, -signal.SIGTERM, -signal.SIGINT, -signal.SIGHUP}
_log = logging.getLogger("amltk_dask")
# Pipes and connections of the program; both figures are a little below the real need.
_FILES_AT_LEAST, _FILES_OF_A_WORKER = 15, 8


class Home:
    """The state that the workers of a cluster share.

    Attributes:
        scratch: A folder for their files.
        service: Answers requests of workers to this process.
        log_level: The lowest level of dask's log records to show, here and in the workers.
    """

    def __init__(self, folder: str | None, log_level: int) -> None:
        """Make a folder, inside `folder` if given, and silence dask."""
        self.log_level = log_level
        # dask itself sets the handlers' levels, which breaks with two clusters at the same time.
        self._handlers = [each for each in logging.getLogger("distributed").handlers if _is_dasks(each)]
        for handler in self._handlers:
            handler.addFilter(self._shows)
        self.service = ProgramService()
        self.scratch = tempfile.mkdtemp(prefix="amltk-dask-", dir=folder)
        self._failure: BaseException | None = None
        self._on_failure: Callable[[BaseException], object] | None = None
        self.processes: set[Process] = set()
        self._memory_kills = OomKills()
        self._exits: dict[int, asyncio.Future[WorkerExit]] = {}

    def clear(self) -> None:
        """Remove the folder, and undo the changes to this process."""
        for handler in self._handlers:
            handler.removeFilter(self._shows)
        self.service.close()
        shutil.rmtree(self.scratch, ignore_errors=True)
        sys.path[:] = [each for each in sys.path if not each.startswith(self.scratch)]

    def _shows(self, record: logging.LogRecord) -> bool:
        return record.levelno >= self.log_level

    def fail(self, error: BaseException) -> None:
        """Record that workers fail to start, and call the callback."""
        self._failure = error
        if self._on_failure is not None:
            self._on_failure(error)

    def on_failure(self, callback: Callable[[BaseException], object]) -> None:
        """Call `callback` with the error when workers fail to start, or at once if they have failed already."""
        self._on_failure = callback
        if self._failure is not None:
            callback(self._failure)

    async def exit_info(self, worker: Worker) -> WorkerExit:
        """Wait until a worker is dead; return how it died."""
        ended = await asyncio.shield(self._exit_of(worker.pid))
        del self._exits[worker.pid]
        return ended

    def died(self, pid: int, exit_code: int | None, notes: str) -> None:
        """Record how a worker ended."""
        detail, _, stderr_tail = notes.rpartition(END_OF_REASON)
        memory = bool(detail) or self._memory_kills.explain(exit_code)
        if not (found := self._exit_of(pid)).done():
            found.set_result(WorkerExit(pid, exit_code, memory, stderr_tail.strip(), detail))

    def _exit_of(self, pid: int) -> asyncio.Future[WorkerExit]:
        return self._exits.setdefault(pid, asyncio.get_running_loop().create_future())

    def lose(self, worker: Worker) -> None:
        """Kill a worker that shows no sign of life."""
        for process in self.processes:
            if process.pid == worker.pid:
                process.kill()

    def kill(self) -> tuple[()]:
        """End all workers with their process trees; return when they are gone."""
        processes = list(self.processes)
        for process in processes:
            process.end()
        end_process_trees(process.pid for process in processes if process.pid is not None)
        for process in processes:
            process.kill()  # it may have only just been started
        for process in processes:
            process.join()
        return ()


class Process(ProcessInterface):  # type: ignore[misc] # dask has no types
    """A worker of the cluster: when its process ends, another follows, until it is closed.

    Attributes:
        pid: The id of the current process; None if there is none, or none is known.
        closing: Whether no other process may follow.
        given_up: Whether the last processes failed to start, so no other follows.
    """

    def __init__(
        self, scheduler: str, *, home: Home, name: object, env: dict[str, str] | None = None, **options: Any
    ) -> None:
        """Describe the worker; `options` are those of `distributed.Worker`."""
        super().__init__(scheduler=scheduler, name=name)
        self.pid: int | None = None
        self.closing = False
        self._home = home
        self._env = {**_from_config("pre-spawn-environ"), **_from_config("environ"), **os.environ, **(env or {})}
        options.pop("loop", None)
        config = {key: value for key, value in dask.config.config.items() if key not in {"scheduler", "shuffle"}}
        self._options = {
            **options, "scheduler_ip": scheduler, "name": name, "local_directory": home.scratch,
            "config": config, "log_level": home.log_level,
        }  # fmt: skip
        self._starting = threading.Lock()  # other threads than the one that starts workers may kill them
        self._life: BinaryIO | None = None
        self._thread: threading.Thread | None = None
        self._failures = self._kills = 0
        self.given_up = False

    async def start(self) -> None:
        """Start a process, which connects to the scheduler as soon as it can."""
        self._home.processes.add(self)
        self._start()
        await super().start()

    async def close(self) -> None:
        """End the process and every process that it has started; return when it is gone."""
        self.end()
        with contextlib.suppress(OSError, ValueError):  # it is gone already
            if self._life is not None:
                self._life.write(b"\n")
        await asyncio.to_thread(self.join)
        self._home.processes.discard(self)
        if not self._home.processes:  # the loop may serve other clusters, too
            asyncio.get_running_loop().remove_reader(self._home.service)
        await super().close()

    def end(self) -> None:
        """Let no other process follow the current one."""
        with self._starting:
            self.closing = True

    def kill(self) -> None:
        """End the process now, with every process that it has started; its guard does this."""
        if self._life is not None:
            self._life.close()

    def join(self) -> None:
        """Wait until the process is gone."""
        if self._thread is not None:
            self._thread.join()

    def _start(self) -> None:
        with self._starting:
            if not self.closing:
                self._start_guard()

    def _start_guard(self) -> None:
        service = self._home.service
        asyncio.get_running_loop().add_reader(service, service.answer)
        parent_pipe, report, notes = os.pipe(), os.pipe(), os.pipe()
        child_ends = parent_pipe[0], report[1], notes[1]
        given = *child_ends, service.for_workers
        try:
            guard = subprocess.Popen(
                child_command("amltk_dask._guard:guard", *given), stdin=subprocess.DEVNULL, pass_fds=given,
                env=self._env, start_new_session=True,
            )  # fmt: skip
        except BaseException:
            for each in (parent_pipe[1], report[0], notes[0]):
                os.close(each)
            raise
        finally:
            for each in child_ends:
                os.close(each)
        self._life = os.fdopen(parent_pipe[1], "wb", buffering=0)
        with contextlib.suppress(BrokenPipeError):  # it has ended already; the thread below reports it
            self._life.write(preparation())
            send_options(self._life, self._options)
        args = asyncio.get_running_loop(), guard, report[0], notes[0]
        self._thread = threading.Thread(target=self._follow, args=args, name="amltk-dask: follows a worker")
        self._thread.start()

    def _follow(self, loop: asyncio.AbstractEventLoop, guard: subprocess.Popen[bytes], report: int, notes: int) -> None:
        reported: dict[str, int] = {}
        with os.fdopen(report, encoding="ascii") as lines:
            for line in lines:
                reported |= json.loads(line)
                self.pid = reported["pid"]
                if "exit_code" in reported:  # a process that the call left running may hold the pipe, too
                    break
        self.pid = None
        guard.wait()
        os.set_blocking(notes, False)
        noted = b""
        with contextlib.suppress(BlockingIOError):
            noted = os.read(notes, _MOST_NOTES)
        os.close(notes)
        with contextlib.suppress(RuntimeError):  # the loop is closed
            loop.call_soon_threadsafe(self._ended, reported, noted.decode(errors="replace"), guard.returncode)

    def _ended(self, reported: dict[str, int], notes: str, guard_code: int) -> None:
        self.kill()  # closes the pipe
        exit_code = reported.get("exit_code")
        if "pid" in reported:
            self._home.died(reported["pid"], exit_code, notes)
        if self.closing:
            return
        if "connected" in reported:
            self._failures = self._kills = 0
        elif (guard_code if exit_code is None else exit_code) in _KILLED:
            self._kills += 1  # a kill does not show that it can't start
        else:
            self._failures += 1
        if self._failures >= _TRIES:
            self._give_up(exit_code)
        elif self._kills < _TRIES:
            self._start()
        else:
            pause = min(_LONGEST_PAUSE, 2.0 ** (self._kills - _TRIES))
            _log.warning("A worker of dask's was killed %d times while it started; tried again.", self._kills)
            asyncio.get_running_loop().call_later(pause, self._start)

    def _give_up(self, exit_code: int | None) -> None:
        """Start no more processes; the other workers go on, if there are any."""
        self.given_up = True
        text = f"dask's workers do not start: {_TRIES} of them ended at once, the last one {describe_exit(exit_code)}."
        if all(each.given_up for each in self._home.processes):
            self._home.fail(BrokenExecutor(f"{text} Their output is on stderr."))
        else:
            _log.warning("%s The other workers go on.", text)


def _is_dasks(handler: logging.Handler) -> bool:
    return type(handler) is logging.StreamHandler


def _from_config(name: str) -> dict[str, str]:
    return {key: str(value) for key, value in dask.config.get(f"distributed.nanny.{name}").items()}


def _check_limit(n_workers: int) -> None:
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = _FILES_AT_LEAST + n_workers * _FILES_OF_A_WORKER
    if n_workers and limit != resource.RLIM_INFINITY and needed > limit:
        text = f"with_dask needs at least {needed} open files for {n_workers} workers, and the limit is {limit}"
        raise OSError(errno.EMFILE, f"{os.strerror(errno.EMFILE)}: {text} ('ulimit -n'); raise it, or have fewer.")


def open_local(
    *, allowed_failures: int, heartbeat_timeout: float | None, security: Any = None, **options: Any
) -> DaskExecutor:
    """Return an executor with its own cluster; `options` are those of `LocalCluster`.

    Args:
        allowed_failures: As for `DaskExecutor`.
        heartbeat_timeout: As for `DaskExecutor`.
        security: None or True: TLS, with a certificate for this run. False: plain TCP. Or a `Security` of dask.
        options: The cluster's other options.

    Raises:
        OSError: The limit of open files is too low for so many workers; dask would wait for them forever.
    """
    python_executable()  # raises before anything starts if there is none
    _check_limit(options.get("n_workers") or 0)
    home = Home(options.pop("local_directory", None), options.pop("silence_logs", logging.CRITICAL))
    at_scheduler: dict[str, Any] = {
        "local_directory": home.scratch,
        "worker_ttl": "365 days",  # compiled code may hold the lock for long: see heartbeat_timeout
        **options.pop("scheduler_kwargs", {}),
    }
    config: dict[str, Any] = {**NO_PROFILE}
    if "dashboard_address" not in options:
        # A second cluster can't use the first one's dashboard port; the small server stays even without a dashboard.
        options["dashboard_address"] = "127.0.0.1:0"
        at_scheduler["dashboard"] = False
        config |= NO_PAGES
    if options.get("n_workers") is None:
        options["n_workers"] = max(1, cpu_count() // (options.get("threads_per_worker") or 1))
    options = {"threads_per_worker": 1, **options, "scheduler_kwargs": at_scheduler, "silence_logs": False}
    with contextlib.ExitStack() as on_error:
        opened = on_error.enter_context(contextlib.ExitStack())
        opened.callback(home.clear)
        options["security"] = security_of(security, home.scratch)
        with dask.config.set(config):
            cluster = opened.enter_context(LocalCluster(worker_class=Process, processes=True, home=home, **options))
        client = opened.enter_context(Client(cluster, set_as_default=False, direct_to_workers=True))
        executor = DaskExecutor(
            client,
            close=opened.close,
            kill=home.kill,
            allowed_failures=allowed_failures,
            heartbeat_timeout=heartbeat_timeout,
            exit_info=home.exit_info,
            lose=home.lose,
        )
        on_error.pop_all()
    home.on_failure(executor.fail_pending)
    return executor
