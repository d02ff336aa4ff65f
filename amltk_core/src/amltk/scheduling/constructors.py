"""`Scheduler.with_<name>` for every installed backend, looked up when it is used.

Type checkers read `constructors.pyi` instead, which declares the constructors of our own backends
(`tools/generate_constructors.py` writes it), so that a misspelled one is an error to them.
"""

from __future__ import annotations

from typing import Any

from amltk.backend import description_of
from amltk.checks import signature_of
from amltk.exceptions import BackendError, UnknownBackendError
from amltk.plugins import plugin_manager

_PREFIX = "with_"


class _LooksUpBackends(type):
    def __getattr__(cls, name: str) -> Any:
        if not name.startswith(_PREFIX):
            msg = f"type object {cls.__name__!r} has no attribute {name!r}"
            raise AttributeError(msg)
        return _constructor(cls, name.removeprefix(_PREFIX))

    def __dir__(cls) -> list[str]:
        return [*super().__dir__(), *(_PREFIX + name for name in plugin_manager().backend_names())]


class Constructors(metaclass=_LooksUpBackends):
    """Base class with `with_<name>` for each backend, which calls `with_backend`."""

    def __getattr__(self, name: str) -> Any:
        kind = type(self).__name__
        msg = f"{kind!r} object has no attribute {name!r}"
        if name.startswith(_PREFIX):
            msg += f"; what makes a scheduler is called on the class: {kind}.{name}(...)"
        raise AttributeError(msg, name=name, obj=self)


def _constructor(cls: Any, name: str) -> Any:
    def construct(*args: Any, **options: Any) -> Any:
        return cls.with_backend(name, *args, **options)

    construct.__name__ = _PREFIX + name
    construct.__qualname__ = f"{cls.__qualname__}.{construct.__name__}"
    construct.__module__ = cls.__module__
    try:
        backend = plugin_manager().backend(name)
    except UnknownBackendError:
        raise
    except BackendError as error:  # not installed, or broken: calling it raises the error
        construct.__doc__ = str(error)
    else:
        construct.__doc__ = description_of(backend)
        signature = signature_of(backend)
        construct.__signature__ = signature.replace(return_annotation=cls)  # type: ignore[attr-defined] # inspect reads it
    return construct
