"""Pickling between a process and the one in which it has a call run."""

from __future__ import annotations

import functools
import io
import pickle
from collections.abc import Callable
from typing import Any


def dumps_by_value(value: object) -> bytes:
    """Pickle for a process that does not know our `__main__`: what lives there travels by value."""
    import cloudpickle  # a forked process rarely needs it

    data: bytes = cloudpickle.dumps(value, pickle.HIGHEST_PROTOCOL)
    return data


def dumps(value: object) -> bytes:
    """Pickle for the process that has started us: by reference where that works, else by value."""
    try:
        return pickle.dumps(value, pickle.HIGHEST_PROTOCOL)
    except Exception:  # cloudpickle knows more; what it does not know either, it says
        return dumps_by_value(value)


def loads(data: bytes | bytearray) -> Any:
    """Unpickle what `dumps` made in another process; classes that this one has already are left as they are."""
    return _Unpickler(io.BytesIO(data)).load()


class _Unpickler(pickle.Unpickler):
    """Leaves the classes of this process as they are.

    A class that was sent by value comes back as the very class that it was. But cloudpickle then
    sets its attributes anew, to copies of its methods which have globals of their own.
    """

    def find_class(self, module: str, name: str) -> Any:
        found = super().find_class(module, name)
        if name == "_class_setstate" and module == "cloudpickle.cloudpickle":
            return functools.partial(_set_what_is_missing, found)
        return found


# A class that is just being made has these too, but not as they should be.
_ALWAYS_SET = ("__doc__", "__abstractmethods__", "_abc_impl")


def _set_what_is_missing(setstate: Callable[[Any, Any], Any], cls: type, state: tuple[dict[str, Any], Any]) -> Any:
    attributes, rest = state
    missing = {key: value for key, value in attributes.items() if key in _ALWAYS_SET or key not in vars(cls)}
    return setstate(cls, (missing, rest))
