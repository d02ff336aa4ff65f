"""The faults that amltk has to survive: what happens, what the user sees, and on which backends it can happen.

The tests of this folder and `docs/faults.md` are made of this list: `test_a1_...` is a test of row A1.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

GROUPS = {
    "A": "A worker dies",
    "B": "Something cannot cross to a worker, or back",
    "C": "A call raises",
    "D": "A callback misbehaves",
    "E": "Start, stop, interrupt",
    "F": "Size",
    "G": "Plugins and backends",
}

ON_CLUSTERS = "in `tests/clusters`, on batch systems"
NOT_TRIED = "not tried"


class Row(NamedTuple):
    """A fault.

    Attributes:
        id: Its group's letter and a number.
        fault: What happens.
        seen: What the user sees of it.
        needs: What a place must have for this to mean anything there: a capability; an option of the backend, as
            in "initializer="; "own" if the executor is the user's; "not" and one of these.
        elsewhere: Where it is tested, if not in this folder; of a row that has a test here, what that lacks.
    """

    id: str
    fault: str
    seen: str
    needs: tuple[str, ...] = ()
    elsewhere: str = ""


DIES = ("survives_dead_worker",)
PICKLES = ("needs_pickling", "not own")
MEANWHILE = ("not blocks_the_run",)
FAR = ("crosses_machines",)
KILLS = ("stops_running_work",)

ROWS = (
    Row("A1", "the worker of a call is killed (SIGKILL)",
        "`WorkerDied` for that call, with pid and signal; all others finish, on a new worker", DIES),
    Row("A2", "a call crashes in compiled code (SIGSEGV)",
        "the same, with `faulthandler`'s traceback of the call", DIES),
    Row("A3", "a call leaves by `os._exit(n)`", "the same, with the exit code", DIES),
    Row("A4", "the system kills a worker because memory ran out", "the same, with memory as the reason", DIES),
    Row("A6", "the initializer of the workers raises", "`run()` fails at once; its exception is shown",
        ("initializer=",)),
    Row("A7", "a call kills every worker that tries it",
        "it is given up after a set number of deaths, with its history (`Retry`); the others finish", DIES),
    Row("A9", "a worker is stopped (SIGSTOP)",
        "`WorkerLost` within the time limit that was set, and a new worker; a late result is dropped",
        ("survives_dead_worker", "heartbeat_timeout="), f"cut off by the network: {NOT_TRIED}"),
    Row("A10", "a worker is asked to end (SIGTERM, SIGUSR1), as batch systems do",
        "`WorkerDied` reports that, and no crash", DIES, f"preempted, or out of time: {ON_CLUSTERS}"),

    Row("B1", "the function is a lambda, nested, or of the script",
        "it works, however workers are started, without a `__main__` guard", ("takes_any_function",)),
    Row("B2", "an argument cannot be pickled", "the error of that call names the place: `args[0].lock`", PICKLES),
    Row("B3", "an argument raises when it is pickled", "that error, for that call alone", PICKLES),
    Row("B4", "an argument raises when it is unpickled in the worker", "that error, for that call alone", PICKLES),
    Row("B5", "a result cannot be pickled", "the error of that call names the function", PICKLES),
    Row("B7", "an exception has an `__init__` of its own", "it arrives: type, message, attributes, remote traceback",
        ("carries_any_exception",)),
    Row("B8", "an exception holds a lock", "it arrives, the lock as text", ("carries_any_exception",)),
    Row("B9", "a result of 300 MB", "it arrives; callbacks and timers go on meanwhile", PICKLES),
    Row("B11", "worker and program have different versions of Python or a library",
        "the start is refused, with both versions", FAR, ON_CLUSTERS),

    Row("C1", "a call raises an ordinary exception", "its type, its message, its whole traceback"),
    Row("C2", "one with a cause, with notes, or an `ExceptionGroup`", "all parts of it", ("carries_any_exception",)),
    Row("C3", "a call raises `SystemExit`", "that call fails; the program goes on"),
    Row("C4", "a call raises `KeyboardInterrupt`", "that call fails; the program goes on"),
    Row("C5", "a call raises `CancelledError`", "that call fails, and is not cancelled"),
    Row("C7", "endless recursion, or `MemoryError`", "that call fails"),

    Row("D1", "a callback raises", "the error leaves `run()`; the event's other callbacks were called"),
    Row("D2", 'a callback raises, `on_exception="ignore"`',
        "a log entry with event and callback; the others were called"),
    Row("D3", "a callback of `on_empty` raises", "the error leaves `run()`"),
    Row("D4", "a callback of `on_finishing` raises", "the error leaves `run()`, after `on_finished`; all is closed"),
    Row("D5", "a callback raises while it handles the error of a call", "both errors"),
    Row("D6", "several calls fail at the same time", "all errors, in one `ExceptionGroup`", MEANWHILE),
    Row("D7", "a call fails while the run waits for the last ones", "`on_exception=` applies, as before", MEANWHILE),
    Row("D8", "results arrive while the run ends", "their events, all before `on_finished`", MEANWHILE),
    Row("D9", "a callback takes seconds", "a warning that names it"),

    Row("E1", "a scheduler runs twice", "both runs do their calls"),
    Row("E2", "twice with `end_on_empty=False`", "each ends by its own timeout"),
    Row("E4", "`stop()` from another thread", "the run ends at once"),
    Row("E5", "`submit()` from another thread", "`WrongThreadError` there, which names the way to do it; nothing ran"),
    Row("E6", "`run()` where an event loop is running", "it works"),
    Row("E7", "Ctrl-C", "`KeyboardInterrupt` leaves `run()` after the events of the end; nothing is left",
        ("not own",)),
    Row("E9", "the task that awaits `async_run()` is cancelled", "the events of the end, then `CancelledError`",
        ("not own",)),
    Row("E10", "`wait=False`, and a call that ignores SIGTERM", "it is killed, two seconds later at most", KILLS),
    Row("E11", "`wait=False`, and a call with children and grandchildren", "all of them are gone", KILLS),
    Row("E12", "`wait=False`, and a call that nothing can stop", "`run()` returns; a warning names the call",
        ("not stops_running_work", "not blocks_the_run", "not own")),
    Row("E13", "a timeout, where calls run in the thread of the run", "the run ends after the call that runs",
        ("blocks_the_run",)),
    Row("E14", "a run ends in a loop that has other work", "the other work goes on", MEANWHILE),
    Row("E15", "the program is killed (SIGKILL)", "its workers are gone within seconds",
        PICKLES, f"jobs of a batch system: {ON_CLUSTERS}"),
    Row("E17", "the program has threads before the first worker starts", "no worker hangs, and no warning", PICKLES),
    Row("E18", "the executor is yours", "it is usable after the run", ("own",)),

    Row("F1", "a hundred thousand calls with 1 MB each, from an iterator",
        "`buffersize=`: arguments are taken as calls end, memory stays flat"),
    Row("F2", "a hundred thousand calls that end in any order", "each costs the same"),

    Row("G1", "an installed plugin cannot be imported",
        "the others work; using it raises the reason, and `amltk backends` shows it"),
    Row("G3", "an argument is named as an option of an engine (`priority`, `key`, `pure`)", "it reaches the function"),
    Row("G4", "the same function with the same arguments, twice", "it runs twice"),
    Row("G5", "no worker ever comes", "a warning with the batch system's reason; the run can end", FAR, ON_CLUSTERS),
    Row("G6", "the batch system refuses the job", "`run()` raises, with command and output", FAR, ON_CLUSTERS),
    Row("G7", "an executor resolves a future twice, or never",
        "the suite for backends fails; a run takes the first, and names executor and call that never ended", ("own",)),
)  # fmt: skip


def rows_with_tests() -> set[str]:
    """Return the ids of the rows that have tests."""
    files = Path(__file__).parent.glob("test_faults_*.py")
    found = (re.findall(r"^def test_([a-g]\d+)_", path.read_text(encoding="utf-8"), re.MULTILINE) for path in files)
    return {row.upper() for rows in found for row in rows}
