"""Pickling, and classes that come back left as they are."""

from __future__ import annotations

import functools
import io
import pickle
from collections.abc import Callable, Iterable
from typing import Any

Dumps = Callable[[Any], bytes]
Loads = Callable[[bytes], Any]


def loads(data: bytes | bytearray | memoryview, buffers: Iterable[Any] | None = None) -> Any:
    """Unpickle what another process made with `pickle` or cloudpickle, and leave this process's classes as they are.

    Args:
        data: The pickle.
        buffers: What pickle's `buffer_callback` was given there, as for `pickle.loads`.
    """
    return _Unpickler(io.BytesIO(data), buffers=buffers).load()


class _Unpickler(pickle.Unpickler):
    """Does not change classes that are there.

    A class by value comes back as the very class that was sent. But cloudpickle then sets its
    attributes anew, to copies of its methods which have globals of their own.
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
