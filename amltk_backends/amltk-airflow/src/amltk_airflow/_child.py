"""The process that runs one call, and nothing else: `python -P -m amltk_airflow._child CALL OUTCOME READY PATH`.

PATH is `sys.path` of the task, as JSON: what a task can import, a call can. To start an interpreter takes a while, in
which a call may be cancelled: so this says by a byte to the descriptor READY that it could begin, and begins when the
task says so by one to stdin. Then it unpickles the file CALL, which the task has checked, and leaves what came of it in
the file OUTCOME. The task holds the other end of its stdin: when that is gone, so is this process, with all that it has
started.
"""

from __future__ import annotations

import contextlib
import faulthandler
import fcntl
import json
import os
import select
import signal
import sys
from pathlib import Path

import cloudpickle

from amltk.remote import loads, pack_exception, unpicklable_result

RESULT, ERROR = b"R", b"E"


def die_with(life: int) -> None:
    """Have the kernel kill this process group at the end of that file, whatever compiled code does then."""
    fcntl.fcntl(life, fcntl.F_SETOWN, -os.getpgid(0))
    fcntl.fcntl(life, fcntl.F_SETSIG, signal.SIGKILL)
    fcntl.fcntl(life, fcntl.F_SETFL, fcntl.fcntl(life, fcntl.F_GETFL) | os.O_ASYNC)
    if select.select([life], [], [], 0)[0]:  # it was over before
        os.killpg(0, signal.SIGKILL)


def run(data: bytes) -> bytes:
    """Run a call, and return what comes of it; this never raises."""
    try:
        return RESULT + _run(data)
    except BaseException as error:  # also SystemExit and KeyboardInterrupt: it is the call that ends
        return ERROR + _pack(error)


def _run(data: bytes) -> bytes:
    try:
        fn, args, kwargs = loads(data)
    except BaseException as error:
        error.add_note(f"Raised while the call was unpickled in worker process {os.getpid()}.")
        raise
    result = fn(*args, **kwargs)
    try:
        return dumps(result)
    except (Exception, SystemExit) as error:
        raise unpicklable_result(error, fn, result, dumps) from error


def _pack(error: BaseException) -> bytes:
    try:
        return dumps(pack_exception(error, dumps, loads))
    except BaseException as failure:  # an error so odd that not even its description can be had
        return dumps(pack_exception(RuntimeError(f"{type(error).__qualname__}, which cannot be sent: {failure!r}")))


def dumps(value: object) -> bytes:
    """Pickle `value`; what can't be imported by value."""
    data: bytes = cloudpickle.dumps(value)
    return data


def main(call: str, outcome: str, ready: str, path: str) -> None:
    """Run the call of one file; the other one is there when it has ended, whole."""
    os.write(int(ready), b"r")
    os.close(int(ready))
    if not os.read(0, 1):  # the task is gone
        return
    sys.path += [each for each in json.loads(path) if each not in sys.path]
    life = os.dup(0)
    os.set_inheritable(life, False)
    with open(os.devnull) as nothing:  # noqa: PTH123 - its descriptor is all that is wanted
        os.dup2(nothing.fileno(), 0)
    die_with(life)
    faulthandler.enable()
    data = run(Path(call).read_bytes())
    part = Path(f"{outcome}.part")
    part.write_bytes(data)
    part.rename(outcome)
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):  # the call may have closed it
            stream.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])
