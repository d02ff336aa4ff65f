"""The parts of a backend that runs calls in other processes and returns their outcomes.

| | |
|---|---|
| `calls` | a call in another process, and its outcome |
| `executor` | the base class of executors: accepts and queues calls |
| `exceptions` | exceptions, sent whole to another process |
| `rebuilding` | rebuilds an exception |
| `pickling` | pickles by value |
| `unpicklable` | finds the part that can't be pickled |
| `by_value`, `rebuild` | the pickler, and the functions that its pickles call when they are loaded |
| `script` | the module `__main__` of a process that did not run the script |
| `fingerprint`, `annotations` | tells whether a global has changed; finds the globals that annotations name |
| `worker_exit` | how a worker process ended |
| `worker_errors` | the errors of calls whose worker ended |
| `process_tree` | ends processes with their descendants (needs psutil) |

Names are imported on first use: a process that only needs `worker_exit` does not load pickling.
"""

from __future__ import annotations

import importlib

TYPE_CHECKING = False  # `typing` takes long to import
if TYPE_CHECKING:
    from typing import Any

    from amltk.remote.calls import Outcome, RemoteCall, dump_call, read_outcome, run_call
    from amltk.remote.exceptions import PackedException, dump_exception, load_exception, pack_exception
    from amltk.remote.pickling import Dumps, Loads, dumps, dumps_result, loads
    from amltk.remote.unpicklable import unpicklable_call, unpicklable_result

_HOME = {
    "Dumps": "pickling",
    "Loads": "pickling",
    "Outcome": "calls",
    "PackedException": "exceptions",
    "RemoteCall": "calls",
    "dump_call": "calls",
    "dump_exception": "exceptions",
    "dumps": "pickling",
    "dumps_result": "pickling",
    "load_exception": "exceptions",
    "loads": "pickling",
    "pack_exception": "exceptions",
    "read_outcome": "calls",
    "run_call": "calls",
    "unpicklable_call": "unpicklable",
    "unpicklable_result": "unpicklable",
}

__all__ = [
    "Dumps",
    "Loads",
    "Outcome",
    "PackedException",
    "RemoteCall",
    "dump_call",
    "dump_exception",
    "dumps",
    "dumps_result",
    "load_exception",
    "loads",
    "pack_exception",
    "read_outcome",
    "run_call",
    "unpicklable_call",
    "unpicklable_result",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    value = globals()[name] = getattr(importlib.import_module(f"amltk.remote.{_HOME[name]}"), name)
    return value
