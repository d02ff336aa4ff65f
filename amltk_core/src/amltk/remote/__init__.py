"""What authors of backends need to have calls run in other processes, and get what comes of them, whole.

| | |
|---|---|
| `calls` | a call that crosses to another process, and what comes of it |
| `exceptions` | exceptions that cross a process whole |
| `rebuilding` | how an exception is made anew |
| `pickling` | leaves this process's classes as they are |
| `unpicklable` | finds the part that can't be pickled |
"""

from amltk.remote.calls import RemoteCall, dump_call, run_call
from amltk.remote.exceptions import PackedException, dump_exception, load_exception, pack_exception
from amltk.remote.pickling import Dumps, Loads, loads
from amltk.remote.unpicklable import unpicklable_call, unpicklable_result

__all__ = [
    "Dumps",
    "Loads",
    "PackedException",
    "RemoteCall",
    "dump_call",
    "dump_exception",
    "load_exception",
    "loads",
    "pack_exception",
    "run_call",
    "unpicklable_call",
    "unpicklable_result",
]
