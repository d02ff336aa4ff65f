"""What is said of calls that did not come back."""

from __future__ import annotations

import signal
import textwrap
from typing import NamedTuple

from amltk.exceptions import WorkerDied
from amltk.remote.worker_exit import describe_exit
from amltk_ray._call import Call

_OTHERS = "All other calls go on."
_AGAIN = "The task plugin Retry of amltk-retry runs such a call again."


class WorkerExit(NamedTuple):
    """What is known of a worker that died.

    Attributes:
        pid: Of the worker; None if it isn't known.
        exit_code: Its exit code, negative for a signal; None if it isn't known.
        wrote: What faulthandler wrote.
    """

    pid: int | None = None
    exit_code: int | None = None
    wrote: str = ""


def died(call: Call, death: WorkerExit, host: str, *, out_of_memory: bool | None, said: str) -> WorkerDied:
    """Return the error of a call whose worker is gone.

    Args:
        call: It.
        death: Of its worker.
        host: The machine of the worker, as far as it is known.
        out_of_memory: Whether memory ran out; None if that isn't known.
        said: What Ray says of it.
    """
    where = f", process {death.pid}" if death.pid is not None else ""
    how = describe_exit(death.exit_code, out_of_memory)
    if out_of_memory and death.exit_code != -signal.SIGKILL:
        how = "was ended by Ray because memory ran out: have fewer workers or smaller calls, or ask for memory="
    message = f"{call.describe()} ended with its worker{where}{host and f' on {host}'}, which {how}. {_OTHERS} {_AGAIN}"
    if said:
        message += f"\nRay says of it:\n{textwrap.indent(said, '    ')}"
    if death.wrote:
        message += f"\nThe last that this process wrote to stderr:\n{textwrap.indent(death.wrote, '    ')}"
    return WorkerDied(
        message, pid=death.pid, exit_code=death.exit_code, out_of_memory=out_of_memory is True, stderr=death.wrote
    )


def killed(call: Call) -> WorkerDied:
    """Return the error of a call that was ended on purpose, together with all others."""
    return WorkerDied(f"{call.describe()} was ended by kill_workers(), with all that it had started.")


def given_up(call: Call, why: object) -> WorkerDied:
    """Return the error of a call that Ray itself has given up."""
    return WorkerDied(f"Ray gave up {call.describe()}: {why}. Whether it ran is not known. {_OTHERS} {_AGAIN}")
