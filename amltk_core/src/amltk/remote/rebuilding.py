"""Rebuilds exceptions in another process.

There are two ways: from its parts, without its `__init__`; and by its `__reduce__`, the only way for a class that keeps
something in C. Both are tried, and the one that gives an equal exception is sent.
"""

from __future__ import annotations

import contextlib
import copyreg
import pickle
from collections.abc import Callable, Sequence
from types import MemberDescriptorType
from typing import Any, NamedTuple

from amltk.describe import describe_value
from amltk.exceptions import NO_TEXT, attributes_of, text_of
from amltk.remote.pickling import Dumps, Loads

# A value that can't be pickled as a whole is taken apart, up to this number of parts and levels.
_MOST_PARTS, _MOST_LEVELS = 100, 5
# Attributes that the interpreter sets in C, outside of the instance's dictionary, from the constructor's arguments.
_BUILT_IN_ATTRIBUTES: tuple[tuple[type[BaseException], tuple[str, ...]], ...] = (
    (SystemExit, ("code",)),
    (StopIteration, ("value",)),
    (ImportError, ("msg", "name", "path")),
    (AttributeError, ("name",)),
    (NameError, ("name",)),
    (OSError, ("errno", "strerror", "filename", "filename2")),
    (UnicodeError, ("encoding", "object", "start", "end", "reason")),
    (SyntaxError, ("msg", "filename", "lineno", "offset", "text", "end_lineno", "end_offset", "print_file_and_line")),
)
_OWN_WAYS = ("__reduce__", "__reduce_ex__", "__getstate__", "__setstate__")


class Pickling(NamedTuple):
    """A backend's functions for pickling and unpickling."""

    dumps: Dumps
    loads: Loads

    def survives(self, value: object) -> bool:
        """Whether `value` can be pickled and unpickled."""
        try:
            self.loads(self.dumps(value))
        except (Exception, SystemExit):  # raised by the user's own methods
            return False
        return True

    def sendable(self, name: str, value: Any, lost: list[str], levels: int = _MOST_LEVELS) -> Any:
        """Return `value` with text in place of every part that does not survive pickling; add their names to `lost`."""
        kind = type(value)
        if self.survives(value):
            return value
        if kind in (list, tuple, dict) and len(value) <= _MOST_PARTS and levels:
            if kind is dict:
                return {
                    self.sendable(f"list({name})[{index}]", key, lost, 0): self.sendable(
                        f"{name}[{describe_value(key)}]", part, lost, levels - 1
                    )
                    for index, (key, part) in enumerate(value.items())
                }
            return kind(self.sendable(f"{name}[{index}]", part, lost, levels - 1) for index, part in enumerate(value))
        lost.append(name)
        return describe_value(value)


class _Parts(NamedTuple):
    """Makes an exception without its `__init__`."""

    cls: type[BaseException]
    args: tuple[Any, ...]
    attributes: dict[str, Any]
    slots: dict[str, Any]

    def make(self, members: Sequence[BaseException]) -> BaseException:
        error = _new(self.cls, (self.args[0], members) if members else self.args)
        if not members:  # an ExceptionGroup checks its members, so arguments alone can't make it
            set_attribute(error, "args", self.args)
        attributes_of(error).update(self.attributes)
        for name, value in self.slots.items():
            with contextlib.suppress(AttributeError, TypeError):  # for some in C, only the constructor can set them
                set_attribute(error, name, value)
        return error


class _Reduced(NamedTuple):
    """Makes an exception by its `__reduce__`."""

    function: Callable[..., Any]
    args: tuple[Any, ...]
    state: Any

    def make(self, members: Sequence[BaseException]) -> BaseException:  # noqa: ARG002 - as in `_Parts`
        error: BaseException = self.function(*self.args)
        if self.state is not None:
            error.__setstate__(self.state)
        return error


def made(recipe: _Parts | _Reduced, members: Sequence[BaseException], text: str) -> BaseException:
    """Make an exception from a recipe; `members` are those of a group, `text` is the original's.

    Raises:
        Exception: The class differs here, or needs a part that was lost.
    """
    error = recipe.make(members)
    if not text.startswith(NO_TEXT):
        str(error)  # a class may compute its text from a part that could not be sent
    return error


def _new(cls: type[BaseException], args: tuple[Any, ...]) -> BaseException:
    """Make an instance without code of the class, which may need other arguments."""
    for base in cls.__mro__:
        if base.__module__ == "builtins":
            with contextlib.suppress(TypeError):  # with several built-in bases, one fits
                return base.__new__(cls, *args)
    raise TypeError(cls)


def set_attribute(error: BaseException, name: str, value: object) -> None:
    """Set an attribute even if the class refuses it, as a frozen dataclass does."""
    if name in BaseException.__dict__:  # the class may have a property of this name
        BaseException.__dict__[name].__set__(error, value)
    else:
        object.__setattr__(error, name, value)


def recipe_of(
    error: BaseException, members: Sequence[BaseException], pickling: Pickling
) -> tuple[bytes | None, tuple[str, ...]]:
    """Return the pickled recipe of `error`, and the parts that it loses; None if there is no way."""
    own = any(name in vars(cls) for cls in type(error).__mro__ if cls.__module__ != "builtins" for name in _OWN_WAYS)
    ways = (_reduced, _parts) if own and not members else (_parts, _reduced)
    text = text_of(error)
    second_best: tuple[bytes | None, tuple[str, ...]] = None, ()
    for way in ways:
        lost: list[str] = []
        try:
            recipe = pickling.dumps(way(error, pickling, lost))
            copy = made(pickling.loads(recipe), members, text)
            if type(copy) is not type(error):
                continue
            same_text = text_of(copy) == text
            if not lost and same_text and _is_like(copy, error):
                return recipe, ()
        except (Exception, SystemExit):  # noqa: S112 - for example, a constructor that takes other arguments
            continue
        # A `__reduce__` may leave out a part on purpose. If the text differs, it has called `__init__` wrongly.
        if second_best[0] is None and (way is _parts or lost or same_text):
            second_best = recipe, tuple(lost)
    return second_best


def _parts(error: BaseException, pickling: Pickling, lost: list[str]) -> _Parts:
    args: tuple[Any, ...] = (error.message,) if isinstance(error, BaseExceptionGroup) else _args(error)
    args = tuple(pickling.sendable(f"args[{index}]", value, lost) for index, value in enumerate(args))
    attributes, slots = (
        {name: pickling.sendable(name, value, lost) for name, value in found.items()}
        for found in (_attributes(error), _slots(error))
    )
    return _Parts(type(error), args, attributes, slots)


def _reduced(error: BaseException, pickling: Pickling, lost: list[str]) -> _Reduced:
    reduce = copyreg.dispatch_table.get(type(error))
    reduced: Any = reduce(error) if reduce else error.__reduce_ex__(pickle.HIGHEST_PROTOCOL)
    function, args, *rest = reduced
    args = tuple(pickling.sendable(f"args[{index}]", value, lost) for index, value in enumerate(args))
    state = rest[0] if rest else None
    if isinstance(state, dict):
        state = {name: pickling.sendable(name, value, lost) for name, value in state.items() if name != "__notes__"}
    return _Reduced(function, args, state)


def _args(error: BaseException) -> tuple[Any, ...]:
    args: tuple[Any, ...] = BaseException.args.__get__(error)  # type: ignore[attr-defined] # a class may have its own
    return args


def _attributes(error: BaseException) -> dict[str, Any]:
    return {name: value for name, value in attributes_of(error).items() if name != "__notes__"}


def _slots(error: BaseException) -> dict[str, Any]:
    """Return what `error` holds outside of its dictionary: slots, and attributes of built-in classes."""
    found = {
        name: value
        for kind, names in _BUILT_IN_ATTRIBUTES
        if isinstance(error, kind)
        for name in names
        if (value := getattr(error, name, None)) is not None  # the initial value
    }
    for cls in type(error).__mro__:
        if cls.__module__ != "builtins":
            for name, member in vars(cls).items():
                if isinstance(member, MemberDescriptorType):
                    with contextlib.suppress(AttributeError):  # it has never been set
                        found[name] = object.__getattribute__(error, name)
    return found


def _is_like(copy: BaseException, error: BaseException) -> bool:
    """Whether nothing was lost, as far as this can tell without calling the values' own `__eq__`."""
    groups = isinstance(error, BaseExceptionGroup)
    return (
        (groups or _are_alike(_args(copy), _args(error)))
        and _are_alike(_attributes(copy), _attributes(error))
        and _are_alike(_slots(copy), _slots(error))
    )


def _are_alike(left: Any, right: Any) -> bool:
    kind = type(left)
    if kind is not type(right):
        return False
    if kind in (str, bytes, int, bool):
        return bool(left == right)
    if kind is dict:
        return left.keys() == right.keys() and all(_are_alike(left[key], right[key]) for key in left)
    if kind in (list, tuple):
        return len(left) == len(right) and all(map(_are_alike, left, right))
    return True
