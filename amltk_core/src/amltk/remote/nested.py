"""Lets children of `multiprocessing` that a worker starts find the script, without a guard in it.

Children that are not forks import the script of their parent. In a worker, that would run the program again. Therefore
the name of the worker's module `__main__`, which is sent to each child, restores a copy of the module there. The name
then reads "__main__", for which `multiprocessing` imports nothing.
"""

from __future__ import annotations

import importlib.machinery
import pickle
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

# A child gets `sys.path` just after the name: until then, this module may not be importable there.
_RESTORE = """(
    __import__("sys").path.extend(path),
    __import__("amltk.remote.nested", fromlist=["restore"]).restore(name, data),
)[1]"""


class _Name(str):
    """The name in the spec of a worker's module `__main__`.

    Attributes:
        dump: Returns the pickle that restores the module.
    """

    __slots__ = ("dump",)
    dump: Callable[[], bytes]

    def __reduce__(self) -> Any:
        return eval, (_RESTORE, {"path": list(sys.path), "name": str(self), "data": self.dump()})


def spec_of_copy(name: str | None, dump: Callable[[], bytes]) -> importlib.machinery.ModuleSpec:
    """Return the spec of a copy of the script's module.

    Args:
        name: The module's name if it was run with `python -m`; None for a file.
        dump: Returns the pickle that restores the module in a child.
    """
    named = _Name(name or "__main__")
    named.dump = dump
    return importlib.machinery.ModuleSpec(named, None)


def restore(name: str, data: bytes) -> str:
    """Make a `__main__` that loads `data` on the first access to an attribute; return the name of the script there."""
    module = ModuleType("__main__")
    module.__spec__ = spec_of_copy(name, lambda: data)

    def load(attribute: str) -> Any:
        del vars(module)["__getattr__"]
        pickle.loads(data)
        sys.modules["__mp_main__"] = sys.modules["__main__"]
        return getattr(sys.modules["__main__"], attribute)

    module.__getattr__ = load  # type: ignore[method-assign] # as PEP 562 defines
    sys.modules["__main__"] = sys.modules["__mp_main__"] = module
    return "__main__"
