"""The functions that a pickle of `by_value` calls when it is loaded: they make functions and classes, and fill them.

Classes that this process already has stay as they are: when a result comes back, they are the program's own. The
metaclass and the hooks of the bases have run in the program and do not run again: a hook would see a class without
attributes, and register it twice.
"""

from __future__ import annotations

import abc
import contextlib
import functools
import sys
import threading
import types
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from cloudpickle import cloudpickle

from amltk.remote.script import script_of

# Tracker ids of classes that exist and have no attributes yet.
_unfinished: set[str] = set()


def set_function(function: types.FunctionType, state: tuple[Any, Mapping[str, Any], Mapping[str, int]]) -> None:
    """Fill a function of a script, and set the globals that it refers to.

    Args:
        function: The function that cloudpickle made.
        state: The state that cloudpickle sets; the globals; their versions.
    """
    its_own, values, versions = state
    receive(function.__globals__, values, versions)
    cloudpickle._function_setstate(function, its_own)


def receive(namespace: dict[str, Any], values: Mapping[str, Any], versions: Mapping[str, int]) -> None:
    """Set those globals of a script that are newer than the ones here."""
    script = script_of(namespace)
    assert script is not None, "made by `globals_of`"
    script.receive(values, versions)


def make_class(
    metaclass: type, name: str, bases: tuple[type, ...], namespace: dict[str, Any], qualname: str, tracker_id: str
) -> type:
    """Return the class with this tracker id; make it, without its attributes, if it is not here."""
    return _tracked(tracker_id, qualname, lambda: _new_class(metaclass, name, bases, namespace))


def make_enum(
    bases: tuple[type, ...], name: str, qualname: str, members: dict[str, Any], module: str, tracker_id: str
) -> type:
    """Return the enumeration with this tracker id; make it, with its members, if it is not here."""

    def make() -> type:
        with _without_hooks(bases):
            made: type = cloudpickle._make_skeleton_enum(bases, name, qualname, members, module, None, None)
        return made

    return _tracked(tracker_id, qualname, make)


def _tracked(tracker_id: str, qualname: str, make: Callable[[], type]) -> type:
    known: type | None = cloudpickle._DYNAMIC_CLASS_TRACKER_BY_ID.get(tracker_id)
    if known is not None:
        return known
    made = make()
    made.__qualname__ = qualname
    tracked: type = cloudpickle._lookup_class_or_track(tracker_id, made)
    if tracked is made:
        _unfinished.add(tracker_id)
    return tracked


def _new_class(metaclass: type, name: str, bases: tuple[type, ...], namespace: dict[str, Any]) -> type:
    make = abc.ABCMeta.__new__ if issubclass(metaclass, abc.ABCMeta) else type.__new__
    with _without_hooks(bases):
        try:
            return make(metaclass, name, bases, dict(namespace))
        except TypeError:  # a metaclass in C, as in ctypes, makes its classes itself
            return types.new_class(name, bases, {"metaclass": metaclass}, lambda given: given.update(namespace))


@contextlib.contextmanager
def _without_hooks(bases: tuple[type, ...]) -> Iterator[None]:
    """Disable `__init_subclass__` in this thread."""
    hooked: dict[type, Any] = {}
    for owner in dict.fromkeys(owner for base in bases for owner in base.__mro__):
        if owner is object or "__init_subclass__" not in vars(owner):
            continue
        hook = vars(owner)["__init_subclass__"]
        with contextlib.suppress(TypeError):  # a class in C can't be changed
            type.__setattr__(owner, "__init_subclass__", _silent(hook))
            hooked[owner] = hook
    try:
        yield
    finally:
        for owner, hook in hooked.items():
            type.__setattr__(owner, "__init_subclass__", hook)


def _silent(hook: Any) -> Any:
    thread = threading.get_ident()

    def in_other_threads(cls: type, /, **options: Any) -> None:
        if threading.get_ident() != thread:
            hook.__get__(None, cls)(**options)

    return classmethod(in_other_threads)


def set_class(cls: type, state: tuple[str, dict[str, Any], Mapping[str, Any], bool]) -> None:
    """Fill a class that was just made; a class that was here before keeps its attributes.

    Args:
        cls: The class.
        state: Its tracker id; its attributes; for an enumeration, the attributes of each member; whether a class
            that was here before gets the attributes that it lacks, as in a worker.
    """
    tracker_id, attributes, members, extend = state
    new = tracker_id in _unfinished
    registered = attributes.pop("_abc_impl", ())
    for name, value in attributes.items():
        if new or (extend and name not in vars(cls) and name != "__annotations__"):
            type.__setattr__(cls, name, value)
    if not new:
        return
    if sys.version_info >= (3, 13) and "__firstlineno__" in attributes:
        cls.__firstlineno__ = attributes["__firstlineno__"]  # type: ignore[attr-defined] # setting `__module__` deletes it
    for subclass in registered:
        cls.register(subclass)  # type: ignore[attr-defined] # it is an abstract base class
    for name, its_own in members.items():
        vars(cls.__members__[name]).update(its_own)  # type: ignore[attr-defined] # it is an enumeration
    _unfinished.discard(tracker_id)


def set_class_of_script(cls: type, state: tuple[Any, dict[str, Any], Mapping[str, Any], Mapping[str, int]]) -> None:
    """Call `set_class`, and set the class, and the globals that its annotations name, in the script's module."""
    its_own, namespace, values, versions = state
    receive(namespace, values, versions)
    set_class(cls, its_own)


def make_cached(
    maxsize: int | None, typed: bool, make: Callable[..., Callable[..., Any]], args: tuple[Any, ...]
) -> Any:
    """Return a function with a cache; `make` returns the function without it."""
    return functools.lru_cache(maxsize, typed)(make(*args))


def set_cached(cached: Any, state: tuple[Callable[[Any, Any], None], Any, dict[str, Any]]) -> None:
    """Fill the cached function, and then its wrapper."""
    set_state, its_own, attributes = state
    set_state(cached.__wrapped__, its_own)
    vars(cached).update(attributes)


def same(value: Any) -> Any:
    """Return `value`."""
    return value


def make_named(
    namespace: dict[str, Any], name: str, version: int, make: Callable[..., Any], args: tuple[Any, ...]
) -> Any:
    """Return a global of a script; make it if this version of it is not here."""
    script = script_of(namespace)
    assert script is not None, "made by `globals_of`"
    if not script.has(name, version):
        script.receive({name: make(*args)}, {name: version})  # if two threads make one, the first is kept
    return namespace[name]


def make_lazy_import(statement: str, name: str) -> Any:
    """Return the object that a lazy import binds to a name; reading it from a plain dictionary does not import it."""
    namespace: dict[str, Any] = {}
    exec(statement, namespace)  # noqa: S102 - older Pythons can't parse it
    return namespace[name]


def make_in_main(make: Callable[..., Any], args: tuple[Any, ...], options: Mapping[str, Any]) -> Any:
    """Call `make` from a frame of `__main__`, from which it takes its module."""
    frame = {"__name__": "__main__", "make": make, "args": args, "options": options}
    return eval("make(*args, **options)", frame)  # noqa: S307 - a constant
