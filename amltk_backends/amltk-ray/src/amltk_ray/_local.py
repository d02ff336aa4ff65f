"""A cluster on this machine's loopback interface, with a temporary folder; made for runs, and removed after them."""

from __future__ import annotations

import contextlib
import json
import math
import os
import secrets
import shlex
import shutil
import subprocess
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil

from amltk.preparation import python_executable
from amltk.remote.process_tree import end_process_trees
from amltk.remote.worker_errors import WorkerExit
from amltk_ray import _guard, _nanny, _worker

# Ray's sockets are in the folder, and their paths may have 107 characters.
_LONGEST_BASE = 107 - len("/ray-12345678/r/session_2026-01-01_00-00-00_000000_1234567/sockets/plasma_store")
_RAYS = "r"  # Ray's own folder is open to everybody; ours keeps other users out
_HOME = "AMLTK_RAY_HOME"  # all processes of a cluster have this variable
_START = 120.0
_LOOK_AGAIN = 0.02
_BURIAL = 2.0
_OWN_PYTHON = {"conda", "container", "image_uri", "pip", "py_executable", "uv"}


class LocalCluster:
    """A cluster of one node.

    Attributes:
        home: Its folder.
        address: The address where it listens.
        environment: The variables that a program needs to connect to it.
    """

    def __init__(self, cpus: float, resources: Mapping[str, float]) -> None:
        """Start the cluster, and return when it listens.

        Args:
            cpus: The number of processors that Ray gives out; may exceed the real number.
            resources: Its other resources, except GPUs and memory, which Ray detects.

        Raises:
            RuntimeError: Ray did not start; the message has its output.
        """
        base = tempfile.gettempdir()
        self.home = tempfile.mkdtemp(prefix="ray-", dir=base if len(base) <= _LONGEST_BASE else "/tmp")  # noqa: S108
        for folder in (_worker.BEGUN, _worker.NOTES, _nanny.ENDS):
            (Path(self.home) / folder).mkdir()
        # Other users of this machine can connect, too; before Ray 2.52, nothing requires a token.
        self.environment = {
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": secrets.token_hex(32),
            "RAY_task_events_report_interval_ms": "0",  # only the dashboard needs events of tasks
        }
        python = python_executable()
        command = [
            python, "-m", "ray.scripts.scripts", "start", "--head", "--block", "--port=0",
            "--node-ip-address=127.0.0.1", "--dashboard-agent-listen-port=0", f"--temp-dir={self.home}/{_RAYS}",
            f"--num-cpus={math.ceil(cpus)}", f"--resources={json.dumps(dict(resources))}",
            "--disable-usage-stats", "--include-dashboard=false", "--include-log-monitor=false", "--no-monitor",
        ]  # fmt: skip
        # The first variable keeps Ray from replacing 127.0.0.1 by another address.
        ours = {
            "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_prestart_worker_first_driver": "0",  # such a worker would have no nanny
            _HOME: self.home,
            **self.environment,
        }
        foreign = {"RAY_ADDRESS", "RAY_REDIS_ADDRESS", "RAY_AUTH_TOKEN_PATH"}
        environment = {name: value for name, value in os.environ.items() if name not in foreign}
        self._guard = subprocess.Popen(
            [python, "-S", _guard.__file__, self.home, *command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment | ours,
            start_new_session=True,
        )
        try:
            self.address = self._wait_for_address()
        except BaseException:
            self.close()
            raise

    def _wait_for_address(self) -> str:
        path = Path(self.home) / _RAYS / "ray_current_cluster"
        end = time.monotonic() + _START
        while True:
            with contextlib.suppress(OSError):
                if address := path.read_text(encoding="utf-8").strip():
                    return address
            if self._guard.poll() is not None:
                assert self._guard.stdout is not None
                output = self._guard.stdout.read().decode(errors="replace").strip()
                msg = f"Ray did not start. The end of the output of `ray start`:\n{output}"
                raise RuntimeError(msg)
            if time.monotonic() > end:
                log = Path(self.home) / _guard.LOG
                output = log.read_text(encoding="utf-8", errors="replace") if log.exists() else ""
                msg = f"Ray did not start within {_START:g} s. The end of the output of `ray start`:\n{output[-4000:]}"
                raise RuntimeError(msg)
            time.sleep(_LOOK_AGAIN)

    def runtime_env(self, wanted: Mapping[str, Any] | None) -> dict[str, Any]:
        """Return the `runtime_env` of calls: with a nanny for each worker, unless `wanted` sets another Python."""
        if wanted and _OWN_PYTHON & wanted.keys():
            return dict(wanted)
        nanny = shlex.join([python_executable(), "-S", _nanny.__file__, self.home])
        return {"py_executable": nanny, **(wanted or {})}

    def pid(self, task: str) -> int | None:
        """Return the process that runs or ran a task of Ray; None if it has not begun."""
        for path in (Path(self.home) / _worker.BEGUN).iterdir():
            if path.read_text(encoding="ascii") == task:
                return int(path.name)
        return None

    def seconds_since(self, pid: int) -> float:
        """Return how many seconds ago a worker began its latest task."""
        return time.time() - (Path(self.home) / _worker.BEGUN / str(pid)).stat().st_mtime

    def exit_info(self, pid: int) -> WorkerExit:
        """Return how a worker died; waits for its nanny's report for a moment."""
        end = time.monotonic() + _BURIAL
        file = Path(self.home) / _nanny.ENDS / str(pid)
        while not file.exists() and time.monotonic() < end:
            time.sleep(0.005)
        with contextlib.suppress(OSError):
            notes = (Path(self.home) / _worker.NOTES / str(pid)).read_text(encoding="utf-8", errors="replace").strip()
            code = int(file.read_text(encoding="ascii")) if file.exists() else None
            return WorkerExit(pid, code, stderr_tail=notes)
        return WorkerExit(pid)

    def end_head(self) -> None:
        """End the process that holds the cluster together, before the program disconnects.

        A request that still waits for an answer at the disconnection would keep its socket until the program ends.
        """
        port = int(self.address.rpartition(":")[2])
        with contextlib.suppress(psutil.Error):
            for process in psutil.Process(self._guard.pid).children(recursive=True):
                if process.name() == "gcs_server":
                    process.kill()
        end = time.monotonic() + _BURIAL
        while _connected(port) and time.monotonic() < end:
            time.sleep(_LOOK_AGAIN)

    def close(self) -> None:
        """End the cluster and every process of its calls; return when all are gone, and the folder."""
        for stream in (self._guard.stdin, self._guard.stdout):
            assert stream is not None
            stream.close()
        if self._guard.wait() != 0:  # the guard itself was killed
            _kill_all_of(self.home)
            shutil.rmtree(self.home, ignore_errors=True)


def _kill_all_of(home: str) -> None:
    """Kill the processes of a cluster. Ray's own have overwritten their environment, but have log files open."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):  # gone, or another user's
            if process.environ().get(_HOME) == home or any(home in file.path for file in process.open_files()):
                found.append(process.pid)
    end_process_trees([pid for pid in found if pid != os.getpid()], 0)


def _connected(port: int) -> bool:
    return any(each.raddr and each.raddr.port == port for each in psutil.Process().net_connections("tcp"))
