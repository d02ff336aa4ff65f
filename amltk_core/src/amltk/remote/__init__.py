"""What authors of backends need to have calls run in other processes, and get what comes of them, whole.

| | |
|---|---|
| `calls` | a call that crosses to another process, and what comes of it |
| `exceptions` | exceptions that cross a process whole |
| `rebuilding` | how an exception is made anew |
| `pickling` | pickles by value |
| `unpicklable` | finds the part that can't be pickled |
| `by_value`, `rebuild` | the pickler, and what its pickles call when they are loaded |
| `script` | the module `__main__` of a process that did not run the script |
| `fingerprint`, `annotations` | whether a global has changed; what annotations name |
"""

from amltk.remote.calls import Outcome, RemoteCall, dump_call, read_outcome, run_call
from amltk.remote.exceptions import PackedException, dump_exception, load_exception, pack_exception
from amltk.remote.pickling import Dumps, Loads, dumps, dumps_result, loads
from amltk.remote.unpicklable import unpicklable_call, unpicklable_result

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
