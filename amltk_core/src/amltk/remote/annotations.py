"""The annotations of functions and classes that travel by value, and the script's globals that they name as text."""

from __future__ import annotations

import ast
import contextlib
import sys
import types
import typing
from collections.abc import Iterator, Mapping
from typing import Any
from weakref import WeakKeyDictionary

from cloudpickle import cloudpickle

# Whether a class of the script can be pickled.
_can_travel: WeakKeyDictionary[type, bool] = WeakKeyDictionary()
# The types of what an annotation may name.
_KINDS = (type, types.ModuleType, types.GenericAlias, types.UnionType)


def annotations_of(obj: Any) -> dict[str, Any]:
    """Return the annotations of a function or class; those that name something undefined are text."""
    if sys.version_info < (3, 14):
        return dict(vars(obj).get("__annotations__", {}) if isinstance(obj, type) else obj.__annotations__)
    import annotationlib  # type: ignore[import-not-found,unused-ignore] # mypy reads this as Python 3.11

    try:
        return annotationlib.get_annotations(obj)
    except Exception:  # it names something imported only for type checkers, say, or its code raises
        texts = annotationlib.get_annotations(obj, format=annotationlib.Format.STRING)
    values = {}
    with contextlib.suppress(Exception):
        values = annotationlib.get_annotations(obj, format=annotationlib.Format.FORWARDREF)
    return {name: text if list(_texts(values.get(name, text))) else values[name] for name, text in texts.items()}


def named_globals(annotations: Mapping[str, Any], namespace: Mapping[str, Any]) -> dict[str, Any]:
    """Return the script's types that annotations name as text; `typing.get_type_hints` looks them up."""
    names = {name: None for annotation in annotations.values() for text in _texts(annotation) for name in _names(text)}
    return {name: namespace[name] for name in names if name in namespace and _is_type(namespace[name])}


def _texts(annotation: Any) -> Iterator[str]:
    """Yield the parts of an annotation that are text."""
    if isinstance(annotation, str):
        yield annotation
    elif isinstance(annotation, typing.ForwardRef):
        yield annotation.__forward_arg__
    elif not isinstance(annotation, type):
        for part in getattr(annotation, "__args__", ()):
            yield from _texts(part)


def _names(text: str) -> Iterator[str]:
    try:
        nodes = list(ast.walk(ast.parse(text, mode="eval")))
    except (SyntaxError, ValueError):
        return
    for node in nodes:
        if isinstance(node, ast.Name):
            yield node.id
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value != text:
            yield from _names(node.value)


def _is_type(value: Any) -> bool:
    if not isinstance(value, _KINDS) and type(value).__module__ != "typing":
        return False
    # A class that can't be pickled must not fail the call: the function does not need it.
    return not isinstance(value, type) or _travels(value)


def _travels(cls: type) -> bool:
    if cls not in _can_travel:
        _can_travel[cls] = True  # its methods may be annotated with it
        try:
            cloudpickle.dumps(cls)
        except Exception:
            _can_travel[cls] = False
    return _can_travel[cls]
