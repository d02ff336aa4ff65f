"""Pickles for a process that has not imported the script: the script's functions and classes travel by value.

cloudpickle takes functions and classes apart. This module adds one module for everything of the script (see `script`),
classes as the script made them (see `rebuild`), and objects that pickle sends only by name.
"""

from __future__ import annotations

import copyreg
import dataclasses
import functools
import io
import sys
import types
import typing
import weakref
from collections.abc import Callable, Mapping
from enum import Enum
from typing import Any

from cloudpickle import cloudpickle

from amltk.remote import rebuild
from amltk.remote.annotations import annotations_of, named_globals
from amltk.remote.fingerprint import fingerprint
from amltk.remote.script import NAMES, Script, globals_of, script_of

_PROTOCOL = 5
BufferCallback = Callable[[Any], Any]


def dump(value: object, buffer_callback: BufferCallback | None, *, to_worker: bool) -> bytes:
    """Pickle `value`; see `amltk.remote.dumps` and `amltk.remote.dumps_result`."""
    with io.BytesIO() as file:
        _Pickler(file, buffer_callback, to_worker=to_worker).dump(value)
        return file.getvalue()


def dump_script(script: Script, values: Mapping[str, Any], versions: Mapping[str, int]) -> bytes:
    """Pickle the globals of a script that can be pickled, for a child process of this worker."""
    try:
        return dump(_Restored(script, values, versions), None, to_worker=True)
    except Exception:  # one that can't be pickled must not hold back the others
        can_be_sent = {name: value for name, value in values.items() if _can_be_sent(value)}
        return dump(_Restored(script, can_be_sent, versions), None, to_worker=True)


def _can_be_sent(value: object) -> bool:
    try:
        dump(value, None, to_worker=True)
    except Exception:
        return False
    return True


class _Restored:
    """Represents values of a script's globals in a pickle."""

    def __init__(self, script: Script, values: Mapping[str, Any], versions: Mapping[str, int]) -> None:
        self._parts = _ScriptGlobals(script), values, versions

    def __reduce__(self) -> Any:
        return rebuild.receive, self._parts


class _ScriptGlobals:
    """Represents the namespace of a script in a pickle."""

    def __init__(self, script: Script) -> None:
        self._script = script

    def __reduce__(self) -> Any:
        return globals_of, (self._script.id, self._script.facts())


class _Pickler(cloudpickle.Pickler):  # type: ignore[misc] # cloudpickle has no types
    """cloudpickle's pickler with other reducers; its `dispatch_table` is below."""

    def __init__(self, file: Any, buffer_callback: BufferCallback | None, *, to_worker: bool) -> None:
        super().__init__(file, _PROTOCOL, buffer_callback)
        self._to_worker = to_worker
        self._globals: dict[str, _ScriptGlobals] = {}
        self._main_names: dict[int, str] | None = None

    def reducer_override(self, obj: Any) -> Any:
        """Reduce an object that pickle would send by name; return NotImplemented for others."""
        kind = type(obj)
        if kind is types.FunctionType:
            return self._function_reduce(obj)
        if isinstance(obj, type):
            return self._reduce_class(obj)
        if kind in _NAMED:
            return self._reduce_named(obj)
        if kind is _LAZY_IMPORT:
            return self._reduce_lazy_import(obj)
        if self._to_worker and id(obj) in self._names():
            return self._reduce_global(obj)
        return NotImplemented

    def _names(self) -> Mapping[int, str]:
        if self._main_names is None:
            self._main_names = {id(value): name for name, value in _main().items()}
        return self._main_names

    def _globals_of(self, script: Script) -> _ScriptGlobals:
        return self._globals.setdefault(script.id, _ScriptGlobals(script))

    # cloudpickle calls this for functions that can't be imported by name.
    def _dynamic_function_reduce(self, function: types.FunctionType) -> Any:
        args = self._function_getnewargs(function)
        state, slots = _function_state(function)
        namespace = function.__globals__
        script = script_of(namespace) if self._to_worker else None
        if script is None:
            return cloudpickle._make_function, args, (state, slots), None, None, cloudpickle._function_setstate
        annotated = named_globals(slots["__annotations__"], namespace)
        values = {**slots["__globals__"], **annotated, **_home(function, namespace)}
        slots["__globals__"] = {}
        args = (args[0], self._globals_of(script), *args[2:])
        filled = (state, slots), values, _versions(script, values)
        return cloudpickle._make_function, args, filled, None, None, rebuild.set_function

    def _reduce_class(self, cls: type) -> Any:
        reduced = cloudpickle._class_reduce(cls)
        if not isinstance(reduced, tuple) or reduced[-1] is not cloudpickle._class_setstate:
            return reduced
        args, (attributes, _) = reduced[1:3]
        tracker_id = cloudpickle._get_or_create_tracker_id(cls)
        make: Callable[..., type]
        if issubclass(cls, Enum):
            make, args, members = rebuild.make_enum, _enum_args(cls, tracker_id), _enum_members(cls)
            for name in members:
                attributes.pop(name, None)
        else:
            metaclass, name, _, namespace, *_ = args
            namespace |= {key: attributes[key] for key in _NEEDED_TO_MAKE if key in attributes}
            args = (metaclass, name, cls.__bases__, namespace, cls.__qualname__, tracker_id)
            make, members = rebuild.make_class, {}
        annotations = _take_annotations(cls, attributes)
        state: tuple[Any, ...] = tracker_id, attributes, members, self._to_worker
        main = _main()
        script = script_of(main) if self._to_worker and cls.__module__ in NAMES else None
        if script is None or not (values := {**named_globals(annotations, main), **_home(cls, main)}):
            return make, args, state, None, None, rebuild.set_class
        state = state, self._globals_of(script), values, _versions(script, values)
        return make, args, state, None, None, rebuild.set_class_of_script

    def _reduce_named(self, obj: Any) -> Any:
        """Reduce an object that pickle regards as a global of some module."""
        name = _qualname(obj)
        if cloudpickle._lookup_module_and_qualname(obj, name=name):
            return NotImplemented
        main = _main()
        home = _home(obj, main)
        if home and not self._to_worker:
            return NotImplemented  # the program finds it under that name
        if type(obj) is functools._lru_cache_wrapper:
            make, args, *rest = self._reduce_cached(obj)
        elif type(obj) is typing.TypeVar and not home:
            return NotImplemented  # cloudpickle handles it
        else:
            make, args, rest = rebuild.make_in_main, _NAMED[type(obj)](obj), []
        return self._as_global(name, make, args, *rest) if home.get(name) is obj else (make, args, *rest)

    def _as_global(self, name: str, make: Any, args: Any, *rest: Any) -> Any:
        """Reduce a global of the script so that it is made only once in a worker."""
        main = _main()
        script = script_of(main)
        assert script is not None, "it was found there"
        version = script.version(name, fingerprint(main[name]))
        return (rebuild.make_named, (self._globals_of(script), name, version, make, args), *rest)

    def _reduce_lazy_import(self, lazy: Any) -> Any:
        """Reduce an object that a `lazy import` has bound to a name, without importing it."""
        module = str(lazy).split("'")[1]  # the object offers nothing but this text
        package, _, attribute = module.rpartition(".")
        top = module.split(".")[0]
        if self._names().get(id(lazy)) == top:
            return rebuild.make_lazy_import, (f"lazy import {module}", top)
        if not package:
            return rebuild.make_lazy_import, (f"lazy import {module}", module)
        return rebuild.make_lazy_import, (f"lazy from {package} import {attribute}", attribute)

    def _reduce_cached(self, cached: Any) -> Any:
        function = cached.__wrapped__
        attributes = {key: value for key, value in vars(cached).items() if key not in _SET_BY_CACHE}
        parameters = tuple(cached.cache_parameters().values())
        reduced = self._function_reduce(function) if type(function) is types.FunctionType else NotImplemented
        if reduced is NotImplemented:
            return rebuild.make_cached, (*parameters, rebuild.same, (function,)), attributes
        make, args, state, _, _, set_state = reduced
        # The function may refer to its cached wrapper, so it is filled once the wrapper exists.
        state = set_state, state, attributes
        return rebuild.make_cached, (*parameters, make, args), state, None, None, rebuild.set_cached

    def _reduce_global(self, obj: Any) -> Any:
        """Reduce an object that may reduce to the name of a global, as a sentinel does."""
        if type(obj) in self.dispatch_table:
            return NotImplemented
        reduced = obj.__reduce_ex__(_PROTOCOL)
        if not isinstance(reduced, str):
            return reduced
        if _main().get(reduced) is not obj:
            return NotImplemented
        state = obj.__getstate__()
        rest = () if state is None else (state,)
        return self._as_global(reduced, copyreg.__newobj__, (type(obj),), *rest)  # type: ignore[attr-defined] # typeshed


def _main() -> dict[str, Any]:
    return vars(sys.modules["__main__"])


def _versions(script: Script, values: Mapping[str, Any]) -> dict[str, int]:
    return {name: script.version(name, fingerprint(value)) for name, value in values.items()}


def _qualname(obj: Any) -> str:
    name: str = getattr(obj, "__qualname__", None) or obj.__name__
    return name


def _home(obj: Any, namespace: Mapping[str, Any]) -> dict[str, Any]:
    """Return the script's global in which pickle finds `obj` by name; empty if there is none."""
    if obj.__module__ not in NAMES:
        return {}
    name, *path = _qualname(obj).split(".")
    if name not in namespace:
        return {}
    found = namespace[name]
    for part in path:
        found = vars(found).get(part) if isinstance(found, type) else None
    return {name: namespace[name]} if found is obj else {}


def _function_state(function: types.FunctionType) -> tuple[dict[str, Any], dict[str, Any]]:
    state: tuple[dict[str, Any], dict[str, Any]]
    try:
        state = cloudpickle._function_getstate(function)
    except Exception:  # from Python 3.14 on, annotations are evaluated on access
        code, name = function.__code__, function.__name__
        same = types.FunctionType(code, function.__globals__, name, function.__defaults__, function.__closure__)
        functools.update_wrapper(same, function, ("__module__", "__qualname__", "__doc__"))
        del same.__wrapped__  # type: ignore[attr-defined] # set by `update_wrapper`
        same.__kwdefaults__ = function.__kwdefaults__
        same.__annotations__ = annotations_of(function)
        state = cloudpickle._function_getstate(same)
    return state


def _take_annotations(cls: type, attributes: dict[str, Any]) -> dict[str, Any]:
    for lazy in ("__annotate_func__", "__annotations_cache__"):
        attributes.pop(lazy, None)
    annotations = annotations_of(cls)
    if annotations:
        attributes["__annotations__"] = annotations
    return annotations


def _enum_args(cls: type[Enum], tracker_id: str) -> tuple[Any, ...]:
    values = {name: member._value_ for name, member in cls.__members__.items()}
    return cls.__bases__, cls.__name__, cls.__qualname__, values, cls.__module__, tracker_id


def _enum_members(cls: type[Enum]) -> dict[str, dict[str, Any]]:
    """Return the attributes that the constructor of an enumeration has set in its members."""
    return {
        name: {key: value for key, value in vars(member).items() if key not in _SET_BY_ENUM}
        for name, member in cls.__members__.items()
    }


# Attributes that decide the layout of a class and whether it can be made.
_NEEDED_TO_MAKE = ("__slots__", "__orig_bases__")
_SET_BY_ENUM = frozenset({"_value_", "_name_", "__objclass__", "_sort_order_"})
_SET_BY_CACHE = frozenset({"__wrapped__", "cache_parameters"})


def _type_variable(variable: typing.TypeVar) -> tuple[Any, ...]:
    options = {"bound": variable.__bound__, "covariant": variable.__covariant__}
    options |= {"contravariant": variable.__contravariant__}
    return typing.TypeVar, (variable.__name__, *variable.__constraints__), options


# How to make objects that pickle sends only by name: the callable, and its arguments.
_NAMED: dict[type, Callable[[Any], tuple[Any, ...]]] = {
    functools._lru_cache_wrapper: lambda _: (),  # see `_reduce_cached`
    typing.NewType: lambda new: (typing.NewType, (new.__name__, new.__supertype__), {}),
    typing.TypeVar: _type_variable,
    typing.ParamSpec: lambda spec: (typing.ParamSpec, (spec.__name__,), {}),
    typing.TypeVarTuple: lambda variables: (typing.TypeVarTuple, (variables.__name__,), {}),
}
if sys.version_info >= (3, 12):
    _NAMED[typing.TypeAliasType] = lambda alias: (
        typing.TypeAliasType,
        (alias.__name__, alias.__value__),
        {"type_params": alias.__type_params__},
    )
if sys.version_info >= (3, 15):
    _NAMED[sentinel] = lambda it: (sentinel, (it.__name__,), {})  # type: ignore[name-defined]  # noqa: F821 - too new for both
_LAZY_IMPORT = getattr(types, "LazyImportType", None)  # from Python 3.15 on


def _reduce_code(code: types.CodeType) -> Any:
    make, args = cloudpickle._code_reduce(code)
    # A traceback shows the file and its line if the worker can read the file.
    return make, tuple(
        code.co_filename if isinstance(value, str) and value == "<dynamic-code>" else value for value in args
    )


def _reduce_cached_property(prop: functools.cached_property[Any]) -> Any:
    attributes = {key: value for key, value in vars(prop).items() if key != "lock"}  # in Python 3.11 it has a lock
    return functools.cached_property, (prop.func,), attributes


def _reduce_partial_method(method: functools.partialmethod[Any]) -> Any:
    return functools.partial(functools.partialmethod, method.func, *method.args, **method.keywords), ()


def _reduce_weak_dictionary(weak: weakref.WeakKeyDictionary[Any, Any] | weakref.WeakValueDictionary[Any, Any]) -> Any:
    return type(weak), (dict(weak),)


_Pickler.dispatch_table = cloudpickle.Pickler.dispatch_table.new_child(
    {
        types.CodeType: _reduce_code,
        functools.cached_property: _reduce_cached_property,
        functools.partialmethod: _reduce_partial_method,
        weakref.WeakKeyDictionary: _reduce_weak_dictionary,  # each function of `functools.singledispatch` has one
        weakref.WeakValueDictionary: _reduce_weak_dictionary,
    }
)
if sys.version_info < (3, 15):  # from 3.15 on, pickle handles them
    _Pickler.dispatch_table[type(dataclasses.MISSING)] = lambda _: (getattr, (dataclasses, "MISSING"))
    _Pickler.dispatch_table[type(dataclasses.KW_ONLY)] = lambda _: (getattr, (dataclasses, "KW_ONLY"))
