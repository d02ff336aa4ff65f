"""Errors that only Ray has."""

from __future__ import annotations

import signal
import textwrap
from dataclasses import replace

from amltk.exceptions import WorkerDied
from amltk.remote.worker_errors import OTHERS_GO_ON, RUN_AGAIN, WorkerExit, worker_died
from amltk_ray._call import Call


def died(call: Call, host: str, ended: WorkerExit, report: str) -> WorkerDied:
    """Return the error of a call whose worker died.

    Args:
        call: The call.
        host: The worker's machine; empty if unknown.
        ended: How the worker ended.
        report: Ray's report on it; empty if there is none.
    """
    process = "" if ended.pid is None else f"process {ended.pid}"
    how = ""
    if ended.out_of_memory and ended.exit_code != -signal.SIGKILL:
        how = "was ended by Ray because memory ran out: have fewer workers or smaller calls, or ask for memory="
    if report:
        ended = replace(ended, detail=f"Ray reports:\n{textwrap.indent(report, '    ')}")
    return worker_died(call, f"{process}{host and f' on {host}'}".strip(), ended, how=how)


def given_up(call: Call, why: object) -> WorkerDied:
    """Return the error of a call that Ray itself gave up."""
    return WorkerDied(f"Ray gave up {call.describe()}: {why}. Whether it ran is not known. {OTHERS_GO_ON} {RUN_AGAIN}")
