"""Tells whether the program has changed a global of its script since it was sent."""

from __future__ import annotations

import functools
import hashlib
import types
import typing
from typing import Any

from cloudpickle import cloudpickle

_PROTOCOL = 5
# Types whose values are compared directly.
_PLAIN = frozenset({bool, int, str, bytes, type(None)})

_LAZY_IMPORT = getattr(types, "LazyImportType", None)  # from Python 3.15 on
_COMPARED_BY_IS = (types.FunctionType, type, functools._lru_cache_wrapper, typing.NewType, typing.TypeVar)


def fingerprint(value: Any) -> object:
    """Return a fingerprint of a value: equal ones, also at different times, mean that nothing need be sent again.

    Functions, classes and modules are compared by identity. Data, which may change in place, is compared by a digest of
    its pickle.
    """
    if type(value) in _PLAIN:
        return type(value), value
    if (identity := _identity(value)) is not None:
        return identity
    digest = hashlib.blake2b(digest_size=16, usedforsecurity=False)
    try:
        _Digest(digest).dump(value)
    except Exception:  # a value that can't be pickled fails with its own error where it is sent
        return object()
    return digest.digest()


def _identity(value: Any) -> str | None:
    if isinstance(value, types.ModuleType):
        return value.__name__
    if isinstance(value, _COMPARED_BY_IS):
        tracker_id: str = cloudpickle._get_or_create_tracker_id(value)
        return tracker_id
    return repr(value) if type(value) is _LAZY_IMPORT else None


class _Digest(cloudpickle.Pickler):  # type: ignore[misc] # cloudpickle has no types
    """Pickles into a hash."""

    def __init__(self, digest: Any) -> None:
        self._digest = digest
        super().__init__(self, _PROTOCOL, self._add_buffer)

    def write(self, data: Any) -> None:
        self._digest.update(data)

    def _add_buffer(self, buffer: Any) -> None:
        self._digest.update(buffer.raw())

    def reducer_override(self, obj: Any) -> Any:
        if obj is str or (identity := _identity(obj)) is None:
            return NotImplemented
        return str, (identity,)
