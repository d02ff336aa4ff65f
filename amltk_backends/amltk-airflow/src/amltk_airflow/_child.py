"""The process that runs one call, and nothing else: `python -P -m amltk_airflow._child CALL OUTCOME READY PATH`.

PATH is a file with `sys.path` of the task, as JSON: what a task can import, a call can. To start an interpreter takes
a while, in which a call may be cancelled: so this says by a byte to the descriptor READY that it could begin, and
begins when the task says so by one to stdin. Then it unpickles the file CALL, which the task has checked, and leaves
what came of it in the file OUTCOME. The task holds the other end of its stdin: when that is gone, so is this process,
with all that it has started.
"""

from __future__ import annotations

import faulthandler
import json
import os
import sys
from pathlib import Path

from amltk.remote import run_call
from amltk.remote.worker_exit import kill_on_pipe_close


def main(call: str, outcome: str, ready: str, path: str) -> None:
    """Run the call of one file; the other one is there when it has ended, whole."""
    os.write(int(ready), b"r")
    os.close(int(ready))
    if not os.read(0, 1):  # the task is gone
        return
    sys.path += [each for each in json.loads(Path(path).read_text(encoding="utf-8")) if each not in sys.path]
    life = os.dup(0)
    os.set_inheritable(life, False)
    with open(os.devnull) as nothing:  # noqa: PTH123 - its descriptor is all that is wanted
        os.dup2(nothing.fileno(), 0)
    kill_on_pipe_close(life)
    faulthandler.enable()
    came = run_call(Path(call).read_bytes())
    part = Path(f"{outcome}.part")
    part.write_bytes(came)
    part.rename(outcome)


if __name__ == "__main__":
    main(*sys.argv[1:])
