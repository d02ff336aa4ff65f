"""What the tests of `slurm` call in workers."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

import cloudpickle
from distributed import get_worker
from distributed.utils import sync


def where(*_: object) -> tuple[int, str]:
    return os.getpid(), str(Path.cwd())


def begin_and_wait(path: str, seconds: float = 60) -> str:
    Path(path).write_text(str(os.getpid()))
    time.sleep(seconds)
    return "done"


def begin_and_stand_still(path: str, late: str = "") -> str:
    Path(path).write_text(str(os.getpid()))
    os.kill(os.getpid(), signal.SIGSTOP)
    Path(late).touch()
    return "late"


def begin_and_exit(code: int) -> None:
    os._exit(code)


def wait_for_nanny() -> None:
    """Return when this worker's nanny has started, too: until then, it ends when the worker does."""
    worker = get_worker()
    states: list[str] = []

    async def ask(state: bytes) -> None:
        answer: dict[str, Any] = await worker.rpc(worker.nanny).run(function=state)
        states.append(answer["result"])

    while states[-1:] != ["running"]:
        sync(worker.loop, ask, cloudpickle.dumps(lambda dask_worker: dask_worker.status.name))
