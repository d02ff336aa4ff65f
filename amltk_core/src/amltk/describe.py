"""Describes calls, functions and values as text, for errors and logs.

The work is bounded, however large the values are: containers, dataclasses and named tuples are visited only as far as
they are shown, arrays and tables are shown by type and shape, and an object's own `__repr__` runs only if the object
is small.
"""

from __future__ import annotations

import functools
import gc
import re
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterable, Mapping
from itertools import islice
from types import BuiltinFunctionType, FunctionType, MethodDescriptorType, MethodType, ModuleType
from typing import Any, NamedTuple

_MOST_ITEMS = 6  # of a container, or of a call
_MOST_LEVELS = 3
_MOST_CHARACTERS = 60  # of a value; of a container, five times as many
# An object is small up to this; a repr of so much takes well below a millisecond.
_SMALL_OBJECTS, _SMALL_BYTES = 200, 20_000
_LONGEST_URL = 10_000
_MOST_OBJECTS = 2000  # looked at for one description


def name_of(function: object) -> str:
    """Return the name of a function or of another callable object."""
    while isinstance(function, functools.partial):
        function = function.func
    try:
        name = getattr(function, "__qualname__", None)
    except Exception:  # a `__getattr__` of the user's raises
        name = None
    return name if name and isinstance(name, str) else type(function).__qualname__


def describe_call(function: object, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> str:
    """Return a call as text: `train(3, lr=0.1)`, long values cut short."""
    show = _Description()
    positional = [show(value) for value in args[:_MOST_ITEMS]]
    positional += ["..."] if len(args) > _MOST_ITEMS else []
    return f"{name_of(function)}({', '.join(positional + show.named(kwargs.items()))})"


def describe_value(value: object) -> str:
    """Return a value as text, as `describe_call` shows an argument: its `repr`, if that is short."""
    return _Description()(value)


def describe_option(name: str, value: object) -> str:
    """Return the value of an option as text, or `...` if it may hold a secret.

    Args:
        name: The name of the option: values of `initargs`, `env` and similar ones, and of passwords, are hidden.
        value: Its value; user and password of a URL are left out.
    """
    is_empty = value is None or (isinstance(value, tuple | list | dict) and not value)
    if (name in _MAY_HOLD_SECRETS or _is_secret(name)) and not is_empty:
        return HIDDEN
    return name_of(value) if isinstance(value, functools.partial) else describe_value(value)


def without_credentials(text: str) -> str:
    """Return `text` without the users and passwords, and without the values of the queries, of the URLs in it."""
    if "://" not in text:
        return text
    return _QUERY.sub(rf"\1{HIDDEN}", _CREDENTIALS.sub(rf"\1{HIDDEN}@", text))


def without_secrets(text: str, *, shell: bool = False) -> str:
    """Return an argument or lines without the values of passwords, tokens and similar names.

    Args:
        text: The argument or lines; `without_credentials` is applied, too.
        shell: Whether these are lines of a shell: the values of all variables that they set are hidden.
    """

    def hide(match: re.Match[str]) -> str:
        name = match["name"]
        return f"{name}{match['between']}{HIDDEN}" if shell or _is_secret(name.lstrip("-")) else match[0]

    if shell:
        text = _SETENV.sub(rf"\1{HIDDEN}", text)
    return without_credentials(_OPTION.sub(rf"\1{HIDDEN}", _ASSIGNMENT.sub(hide, text)))


HIDDEN = "..."
"""Replaces a value that may be secret."""

_MAY_HOLD_SECRETS = frozenset(
    [
        "initargs",
        "env",
        "environment",
        "env_extra",
        "runtime_env",
        "storage_options",
        "security",
        "job_script_prologue",
        "preload_argv",
    ]
)
_SECRET = re.compile(
    r"(^|[_-])(passw(or)?d|passphrase|pwd|secrets?|token|credentials?|"
    r"(api|access|private|secret|auth)[_-]?key)$",
    re.IGNORECASE,
)
_CREDENTIALS = re.compile(r"([a-zA-Z][a-zA-Z0-9+.-]*://)[^/?#\s'\"]*@")
_QUERY = re.compile(r"(://[^\s'\"]*?[?&][\w.-]+=|(?<=&)[\w.-]+=)[^&\s'\"]+")


_VALUE = r"(?:'[^']*'|\"(?:\\.|[^\"\\])*\"|\\.|[^\s;&|,'\"\\])+"
_ASSIGNMENT = re.compile(rf"(?<![\w.${{-])(?P<name>(?:--)?[A-Za-z_][\w-]*)(?P<between>=){_VALUE}")
_SETENV = re.compile(rf"(\bsetenv\s+\w+\s+){_VALUE}")
_OPTION = re.compile(
    rf"((?<!\S)--?(?:[\w-]*[_-])?(?:password|passwd|passphrase|secret|token|credentials?|"
    rf"(?:api|access|private|secret|auth)[_-]?key)\s+)(?!-){_VALUE}",
    re.IGNORECASE,
)


def _is_secret(name: object) -> bool:
    return isinstance(name, str) and _SECRET.search(name) is not None


class _Container(NamedTuple):
    begin: str
    end: str
    items: Callable[[Any], Iterable[Any]]
    """The method of the base class, so that no code of the user's runs."""


# By `type(value).__repr__`, so that a subclass with a `__repr__` of its own is no container.
_CONTAINERS: dict[object, _Container] = {
    list.__repr__: _Container("[", "]", list.__iter__),
    tuple.__repr__: _Container("(", ")", tuple.__iter__),
    set.__repr__: _Container("{", "}", set.__iter__),
    frozenset.__repr__: _Container("frozenset({", "})", frozenset.__iter__),
    deque.__repr__: _Container("deque([", "])", deque.__iter__),
    dict.__repr__: _Container("{", "}", dict.items),
    OrderedDict.__repr__: _Container("OrderedDict({", "})", dict.items),
    defaultdict.__repr__: _Container("defaultdict({", "})", dict.items),
    Counter.__repr__: _Container("Counter({", "})", dict.items),
}


class _Description:
    """Shows the values of one call, which share one budget of work."""

    def __init__(self) -> None:
        self._budget = _MOST_OBJECTS

    def __call__(self, value: object, levels: int = _MOST_LEVELS) -> str:
        try:
            return self._show(value, levels)
        except (Exception, SystemExit):  # such as one of the user's `__repr__`
            return f"<{type(value).__name__} object>"

    def named(self, items: Iterable[tuple[str, Any]], levels: int = _MOST_LEVELS) -> list[str]:
        """Return `lr=0.1` for each item that is shown."""
        some = list(islice(items, _MOST_ITEMS + 1))
        shown = [f"{name}={HIDDEN if _is_secret(name) else self(value, levels)}" for name, value in some[:_MOST_ITEMS]]
        return shown + ["..."] * (len(some) > _MOST_ITEMS)

    def _show(self, value: Any, levels: int) -> str:  # noqa: PLR0911, C901 - one for each kind of value
        kind: Any = type(value)
        shown_by = kind.__repr__
        if shown_by is str.__repr__:
            if str.__contains__(value, "://") and str.__len__(value) < _LONGEST_URL:
                value = without_credentials(str.__str__(value))
            return _cut_literal(value, str)
        if shown_by is bytes.__repr__:
            return _cut_literal(value, bytes)
        if shown_by is int.__repr__ and (bits := int.bit_length(value)) > _MOST_CHARACTERS * 3:
            return f"<{kind.__name__} of {bits} bits>"
        if isinstance(value, ModuleType):
            return value.__name__
        if issubclass(kind, (type, FunctionType, BuiltinFunctionType, MethodType)):
            return name_of(value)  # the repr of a method contains that of its object
        if shown_by in _CONTAINERS:
            return self._container(value, _CONTAINERS[shown_by], levels)
        if (fields := _fields_of(kind)) is not None:
            shown = ["..."] if levels < 1 else self.named(((f, getattr(value, f)) for f in fields), levels - 1)
            return _cut(f"{kind.__name__}({', '.join(shown)})", 5 * _MOST_CHARACTERS)
        if (shape := _shape_of(value, kind)) is not None:
            return f"<{kind.__name__} of shape {self._container(shape, _CONTAINERS[tuple.__repr__], 1)}>"
        if not self._is_small(value):
            return f"<{kind.__name__} object>"
        return _cut(without_credentials(repr(value)), _MOST_CHARACTERS)

    def _container(self, value: Any, container: _Container, levels: int) -> str:
        items = list(islice(container.items(value), _MOST_ITEMS + 1))
        if not items:
            return repr(value)
        if levels < 1:
            shown = ["..."]
        elif container.items is dict.items:
            shown = [
                f"{self(key, levels - 1)}: {HIDDEN if _is_secret(key) else self(part, levels - 1)}"
                for key, part in items[:_MOST_ITEMS]
            ]
        else:
            shown = [self(part, levels - 1) for part in items[:_MOST_ITEMS]]
        if len(items) > _MOST_ITEMS and levels:
            shown.append("...")
        comma = "," if container.items is tuple.__iter__ and len(items) == 1 else ""
        return _cut(f"{container.begin}{', '.join(shown)}{comma}{container.end}", 5 * _MOST_CHARACTERS)

    def _is_small(self, value: object) -> bool:
        """Return whether all objects that `value` refers to are few and small, so that its `__repr__` is fast."""
        objects, size = 0, 0
        pending, seen = [value], set[int]()
        while pending:
            part = pending.pop()
            kind: Any = type(part)
            if id(part) in seen or issubclass(kind, (type, FunctionType, BuiltinFunctionType, ModuleType)):
                continue
            seen.add(id(part))
            # A `__sizeof__` in Python may visit all elements, as that of a pandas table does.
            measure = kind.__sizeof__ if type(kind.__sizeof__) is MethodDescriptorType else object.__sizeof__
            objects, size = objects + 1, size + measure(part)
            if objects > min(_SMALL_OBJECTS, max(self._budget, 1)) or size > _SMALL_BYTES:
                self._budget -= objects
                return False
            pending += gc.get_referents(part)
        self._budget -= objects
        return True


def _fields_of(kind: Any) -> Iterable[str] | None:
    """Return the names of the fields that a generated `__repr__` shows, of a dataclass or a named tuple."""
    shown_by = kind.__repr__
    if issubclass(kind, tuple) and getattr(shown_by, "__module__", "") == "collections":
        names: tuple[str, ...] = kind._fields
        return names
    generated = getattr(getattr(shown_by, "__wrapped__", None), "__code__", None)
    if hasattr(kind, "__dataclass_fields__") and generated and generated.co_filename == "<string>":
        from dataclasses import fields  # there is a dataclass, so it is loaded

        return [field.name for field in fields(kind) if field.repr]
    return None


def _shape_of(value: Any, kind: Any) -> tuple[Any, ...] | None:
    """Return the shape of an array or table; None if the value has no shape."""
    if not hasattr(kind, "shape"):
        return None
    shape = value.shape
    scalar = shape == () and not getattr(getattr(value, "dtype", None), "hasobject", False)
    return tuple(shape) if isinstance(shape, tuple) and not scalar else None


def _cut_literal(value: Any, base: Any) -> str:
    """Return the repr of a string or of bytes, computed from its shown parts only."""
    length = base.__len__(value)
    text: str = repr(base.__getitem__(value, slice(_MOST_CHARACTERS)))
    if length <= _MOST_CHARACTERS and len(text) <= _MOST_CHARACTERS:
        return text
    end = base.__getitem__(value, slice(max(length - _MOST_CHARACTERS, 0), None))
    return _cut(text[:_MOST_CHARACTERS] + repr(end)[-_MOST_CHARACTERS:], _MOST_CHARACTERS)


def _cut(text: str, most: int) -> str:
    if len(text) > most:
        return text[: most // 2 - 2] + "..." + text[len(text) - most // 2 + 1 :]
    return text[:]
