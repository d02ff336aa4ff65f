"""Children of `multiprocessing` that a worker starts find the script, without a guard in it.

Children that are no forks import the script of their parent. In a worker, that would run the program again. So the name
of the worker's module `__main__`, which is sent to each child, restores a copy of the module there. It reads "__main__"
then, for which `multiprocessing` imports nothing.
"""

from __future__ import annotations

import importlib.machinery
import pickle
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

# A child gets `sys.path` right after it: until then, this module may not be importable there.
_RESTORE = """(
    __import__("sys").path.extend(path),
    __import__("amltk.remote.nested", fromlist=["restore"]).restore(name, data),
)[1]"""


class _Name(str):
    """The name of the module `__main__` of a worker, as its spec has it.

    Attributes:
        dump: Returns the pickle that restores the module.
    """

    __slots__ = ("dump",)
    dump: Callable[[], bytes]

    def __reduce__(self) -> Any:
        return eval, (_RESTORE, {"path": list(sys.path), "name": str(self), "data": self.dump()})


def spec_of_copy(name: str | None, dump: Callable[[], bytes]) -> importlib.machinery.ModuleSpec:
    """Return the spec of a module that is a copy of the script's.

    Args:
        name: Of the module that was run with `python -m`; None for a file.
        dump: Returns the pickle that restores the module in a child.
    """
    named = _Name(name or "__main__")
    named.dump = dump
    return importlib.machinery.ModuleSpec(named, None)


def restore(name: str, data: bytes) -> str:
    """Have `__main__` be a module that loads `data` when it is first asked for something; return its name there."""
    module = ModuleType("__main__")
    module.__spec__ = spec_of_copy(name, lambda: data)

    def load(attribute: str) -> Any:
        del vars(module)["__getattr__"]
        pickle.loads(data)
        sys.modules["__mp_main__"] = sys.modules["__main__"]
        return getattr(sys.modules["__main__"], attribute)

    module.__getattr__ = load  # type: ignore[method-assign] # as PEP 562 has it
    sys.modules["__main__"] = sys.modules["__mp_main__"] = module
    return "__main__"
