"""Errors that only Ray has."""

from __future__ import annotations

import signal
import textwrap
from dataclasses import replace

from amltk.exceptions import WorkerDied
from amltk.remote.worker_errors import OTHERS_GO_ON, RUN_AGAIN, WorkerExit, worker_died
from amltk_ray._call import Call


def died(call: Call, host: str, ended: WorkerExit, said: str) -> WorkerDied:
    """Return the error of a call whose worker is gone.

    Args:
        call: The call that it ran.
        host: The worker's machine; empty if unknown.
        ended: How it ended.
        said: What Ray reports of it; empty if nothing.
    """
    process = "" if ended.pid is None else f"process {ended.pid}"
    how = ""
    if ended.out_of_memory and ended.exit_code != -signal.SIGKILL:
        how = "was ended by Ray because memory ran out: have fewer workers or smaller calls, or ask for memory="
    if said:
        ended = replace(ended, detail=f"Ray says of it:\n{textwrap.indent(said, '    ')}")
    return worker_died(call, f"{process}{host and f' on {host}'}".strip(), ended, how=how)


def given_up(call: Call, why: object) -> WorkerDied:
    """Return the error of a call that Ray itself has given up."""
    return WorkerDied(f"Ray gave up {call.describe()}: {why}. Whether it ran is not known. {OTHERS_GO_ON} {RUN_AGAIN}")
