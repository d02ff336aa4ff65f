"""The process that runs one call, and nothing else: `python -P -m amltk_airflow._child CALL OUTCOME READY PATH`.

PATH is a file with `sys.path` of the task, as JSON: a call can import the modules that the task can. A call may be
cancelled while the interpreter starts. So the process writes a byte to the descriptor READY when it could begin, and
begins when the task answers with a byte to stdin. Then it unpickles the file CALL, which the task has checked, and
writes the outcome to the file OUTCOME. The task holds the other end of stdin: when that closes, this process and every
process that it has started are killed.
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
    """Run the call of one file; the other file appears, complete, when the call has ended."""
    os.write(int(ready), b"r")
    os.close(int(ready))
    if not os.read(0, 1):  # the task is gone
        return
    sys.path += [each for each in json.loads(Path(path).read_text(encoding="utf-8")) if each not in sys.path]
    parent_pipe = os.dup(0)
    os.set_inheritable(parent_pipe, False)
    with open(os.devnull) as nothing:  # noqa: PTH123 - only its descriptor is needed
        os.dup2(nothing.fileno(), 0)
    kill_on_pipe_close(parent_pipe)
    faulthandler.enable()
    data = run_call(Path(call).read_bytes())
    part = Path(f"{outcome}.part")
    part.write_bytes(data)
    part.rename(outcome)


if __name__ == "__main__":
    main(*sys.argv[1:])
