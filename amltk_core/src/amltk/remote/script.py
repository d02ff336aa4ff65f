"""The script's globals, in a process that did not run the script.

    program: __main__                                         worker: __main__, a module made by `globals_of`

    def bump(): global n; n += 1    ── by value, with n ──>   bump and n are set in the module
    def read(): return n            ── by value, with n ──>   read is set; n keeps the value that bump set
    n = 7; a new function of n      ── by value, with n ──>   n is 7: the program has changed it since

What travels by value lives in one module there, under the names that it has in the script. So functions share their
globals, and code that looks up a name in `__main__` finds it: pickle, joblib, a nested pool, `typing.get_type_hints`.

Each value travels with a version number, which grows when the program changes the value. A worker takes a value that is
newer than its own, in whatever order they arrive, and otherwise keeps its own changes.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Mapping
from types import ModuleType
from typing import Any

from amltk.remote.nested import spec_of_copy

# The script is `__main__`; a child of `multiprocessing` imports it under the other name.
NAMES = ("__main__", "__mp_main__")
# Attributes of its module that a function may read.
_FACTS = ("__doc__", "__file__", "__package__", "__path__")
_BELONG_TO_MODULE = {*_FACTS, "__annotations__", "__builtins__", "__cached__", "__loader__", "__name__", "__spec__"}
# The key in a script's globals for its id, the same in each process.
_ID = "__amltk_script__"


class Script:
    """The globals of a script, in the program or in a process to which its functions travel.

    Attributes:
        id: The same in each process.
        namespace: The globals.
        module: The module that holds them here; None where the script itself runs, and in its forks.
        pid: The process that made this object.
    """

    def __init__(self, script_id: str, namespace: dict[str, Any], module: ModuleType | None = None) -> None:
        """Start without versions."""
        self.id = script_id
        self.namespace = namespace
        self.module = module
        self.pid = os.getpid()
        # The version of each name, and the fingerprint of its value if this process has sent it.
        self._versions: dict[str, tuple[int, object]] = {}

    def version(self, name: str, fingerprint: object) -> int:
        """Return the version of a global that is about to be sent.

        Args:
            name: The global's name.
            fingerprint: Equal to the last one if the value has not changed since.
        """
        version, last = self._versions.get(name, (0, None))
        if last is None or last != fingerprint:
            version += 1
            self._versions[name] = version, fingerprint
        return version

    def receive(self, values: Mapping[str, Any], versions: Mapping[str, int]) -> None:
        """Set the globals that are newer than the ones here."""
        with _lock:  # threads of one worker may receive the same globals
            for name, value in values.items():
                if not self.has(name, versions[name]):
                    self.namespace[name] = value
                    self._versions[name] = versions[name], None

    def has(self, name: str, version: int) -> bool:
        """Whether this version of a global, or a later one, is here."""
        return name in self._versions and self._versions[name][0] >= version and name in self.namespace

    def dump(self) -> bytes:
        """Return a pickle that, when loaded in another process, sets every global here that can be pickled."""
        from amltk.remote import by_value

        values = {name: value for name, value in self.namespace.items() if name not in _BELONG_TO_MODULE}
        return by_value.dump_script(self, values, {name: self._versions.get(name, (1, None))[0] for name in values})

    def facts(self) -> dict[str, Any]:
        """Return the attributes that another process needs to make a module like the script."""
        facts = {key: self.namespace[key] for key in _FACTS if self.namespace.get(key) is not None}
        spec = self.namespace.get("__spec__")  # set by `python -m`
        return {**facts, "__spec__": str(spec.name)} if spec else facts


_scripts: dict[str, Script] = {}
_lock = threading.RLock()


def _after_fork() -> None:
    global _lock  # noqa: PLW0603 - a variable of this module
    _lock = threading.RLock()  # the thread that held it does not exist in the fork


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def script_of(namespace: dict[str, Any]) -> Script | None:
    """Return the script whose globals these are; None if they are those of an imported module."""
    if namespace.get("__name__") not in NAMES:
        return None
    script = _scripts.get(namespace.get(_ID, ""))
    if script is None or script.namespace is not namespace:  # the globals may be a copy of others
        script_id = namespace[_ID] = os.urandom(16).hex()
        script = _scripts[script_id] = Script(script_id, namespace)
    return script


def globals_of(script_id: str, facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return the globals of a script here, and make its module the `__main__` of this process."""
    with _lock:
        script = _scripts.get(script_id)
        if script is None:
            module = ModuleType("__main__")
            script = _scripts[script_id] = Script(script_id, vars(module), module)
            vars(module).update(facts, __spec__=spec_of_copy(facts.get("__spec__"), script.dump), **{_ID: script_id})
    if script.module is not None:
        sys.modules["__main__"] = script.module
    elif script.pid != os.getpid():  # a fork of the program has the script itself, but must not run it again
        script.namespace["__spec__"] = spec_of_copy(script.facts().get("__spec__"), script.dump)
    return script.namespace
