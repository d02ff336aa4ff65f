"""Finds the part of a value that cannot be pickled, and returns its path: `args[0].store['db'].lock`.

The search goes from a failing value to the parts that pickle would save: the results of `__reduce_ex__`, or the items
of a container. Many parts are tested together, and a half that fails is halved again. Parts of a cycle are visited
once. The search takes a few seconds at most, and then names the part that it has reached.
"""

from __future__ import annotations

import copyreg
import dis
import functools
import pickle
import sys
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from itertools import islice
from types import CellType, CodeType, FunctionType, MemberDescriptorType, MethodType
from typing import Any, NamedTuple

from amltk.checks import is_unawaited, unawaited_result
from amltk.describe import describe_value, name_of
from amltk.exceptions import add_note, text_of

_MOST_SECONDS = 2.0
_MOST_PARTS_ALONE = 8  # more are tested together first
_MOST_ITEMS = 10_000_000  # from an iterator of `__reduce__`, which may never end
_PROTOCOL = 4  # without buffers out of band
_MOST_CHARACTERS = 300  # of a path, and of pickle's message

_Group = tuple[Sequence[Any], Callable[[int], str]]
"""Parts of one value, and the path of each by its index."""


def unpicklable_call(
    error: BaseException,
    fn: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    dumps: Callable[[Any], object],
) -> BaseException:
    """Return the error to raise for a call that could not be pickled.

    Args:
        error: The error of the pickler.
        fn: The function.
        args: Its positional arguments.
        kwargs: Its keyword arguments.
        dumps: Pickles one value.

    Returns:
        For an error of pickle, one that names the part at fault and what to do instead; for an
        error of the user's code, that error, with a note.
    """
    parts = {name_of(fn): fn}
    parts |= {f"args[{index}]": value for index, value in enumerate(args)}
    parts |= {f"kwargs[{name!r}]": value for name, value in kwargs.items()}
    where = next((path for name, part in parts.items() if (path := _culprit(name, part, dumps, error))), "it")
    instead = "Let the function make it, from what can be pickled: a path, say, instead of an open file."
    return _unpicklable(error, f"{where} in a call of {name_of(fn)}", instead)


def unpicklable_result(
    error: BaseException, fn: Callable[..., Any], result: object, dumps: Callable[[Any], object]
) -> BaseException:
    """Return the error to raise for a result that could not be pickled, as `unpicklable_call` does for a call."""
    if is_unawaited(result):
        return unawaited_result(name_of(fn), result)
    where = _culprit("result", result, dumps, error) or "result"
    instead = "Let it return what can be pickled, and write the rest to a file."
    return _unpicklable(error, f"what {name_of(fn)} returned, at {where}", instead)


def _unpicklable(error: BaseException, what: str, instead: str) -> BaseException:
    if isinstance(error, RecursionError):
        return pickle.PicklingError(f"Cannot pickle {what}: it is nested too deeply. {instead}")
    if isinstance(error, (pickle.PicklingError, TypeError, AttributeError)):
        return pickle.PicklingError(f"Cannot pickle {what}: {_cut(text_of(error))}. {instead}")
    add_note(error, f"Raised while {what} was pickled.")
    return error


def _culprit(name: str, value: object, dumps: Callable[[Any], object], error: BaseException) -> str | None:
    """Return the path from `name` to the innermost part of `value` that can't be pickled, with its type."""
    if not _fails(dumps, value):
        return None
    # A value nested too deeply for pickle fails at every level down to some depth: no part is at fault.
    found = _Search(dumps).innermost(name, value) if not isinstance(error, RecursionError) else _Part(name, value)
    return f"{_cut(found.path)} (of type {type(found.value).__qualname__})"


def _fails(dumps: Callable[[Any], object], value: object) -> bool:
    try:
        dumps(value)
    except (Exception, SystemExit):  # the user's own `__reduce__` may raise it
        return True
    return False


def _cut(text: str) -> str:
    half = _MOST_CHARACTERS // 2
    return text if len(text) <= _MOST_CHARACTERS else f"{text[:half]} ... {text[-half:]}"


class _Part(NamedTuple):
    path: str
    value: Any


class _Search:
    def __init__(self, dumps: Callable[[Any], object]) -> None:
        self._dumps = dumps
        self._until = time.monotonic() + _MOST_SECONDS
        self._visited: dict[int, object] = {}  # holds the values, so that no other gets their ids

    def innermost(self, name: str, value: object) -> _Part:
        """Return a failing part of `value`, itself failing, none of whose own parts fails.

        The search visits parts in turns. So a part that fails only because it refers back to the whole, as a child
        refers to its parent, does not hide the part at fault.
        """
        part = _Part(name, value)
        waiting = deque([self._visit(part)])
        while waiting and self._has_time():
            walk = waiting.popleft()
            try:
                part = next(walk)
                waiting += (self._visit(part), walk)
            except StopIteration as end:
                if (innermost := end.value) is not None:
                    assert isinstance(innermost, _Part)
                    return innermost
        return part

    def _visit(self, part: _Part) -> Generator[_Part, None, _Part | None]:
        """Yield the parts of `part` that fail; return `part` if there are none."""
        self._visited[id(part.value)] = part.value
        innocent = True
        alone = type(part.value) in (list, tuple)  # it fails, so its items do
        try:
            for values, path_of in _groups(*part):
                for index in self._failing(values, alone):
                    innocent = False
                    if id(values[index]) not in self._visited:
                        yield _Part(path_of(index), values[index])
        except (Exception, SystemExit):  # noqa: S110 - the user's own `__reduce__` raises it, so this part is at fault
            pass
        return part if innocent else None

    def _failing(self, values: Sequence[Any], known: bool) -> Iterator[int]:
        """Yield the indices of the values that fail; `known` if at least one certainly fails."""
        begin = 0
        while begin < len(values):
            end = len(values)
            if end - begin > _MOST_PARTS_ALONE and not known and not _fails(self._dumps, values[begin:]):
                return
            while end - begin > _MOST_PARTS_ALONE and self._has_time():
                middle = (begin + end) // 2
                if _fails(self._dumps, values[begin:middle]):
                    end = middle
                else:
                    begin = middle
            for index in range(begin, end):
                if not self._has_time():
                    return
                if _fails(self._dumps, values[index]):
                    yield index
            begin, known = end, False

    def _has_time(self) -> bool:
        return time.monotonic() < self._until


def _groups(path: str, value: Any) -> Iterator[_Group]:
    """Yield the parts of `value` that pickle would save."""
    kind = type(value)
    if kind in (list, tuple):
        yield value, lambda index: f"{path}[{index}]"
    elif kind in (set, frozenset):
        yield list(value), lambda index: f"list({path})[{index}]"
    elif kind is dict:
        yield from _items(path, value)
    elif kind is FunctionType:
        yield from _of_function(path, value)
    elif kind is MethodType:
        yield _named({f"{path}.__self__": value.__self__, f"{path}.__func__": value.__func__})
    elif kind is functools.partial:
        yield _named({f"{path}.{name}": getattr(value, name) for name in ("func", "args", "keywords", "__dict__")})
    elif kind in (classmethod, staticmethod):
        yield _named({f"{path}.__func__": value.__func__})
    elif kind is property:
        yield _named({f"{path}.{name}": getattr(value, name) for name in ("fget", "fset", "fdel")})
    elif issubclass(kind, type):
        yield _named({f"{path}.{name}": part for name, part in vars(value).items() if name != "__dict__"})
        yield value.__bases__, lambda index: f"{path}.__bases__[{index}]"
    else:
        yield from _of_object(path, value)


def _named(parts: Mapping[str, Any]) -> _Group:
    paths = list(parts)
    return list(parts.values()), paths.__getitem__


def _items(path: str, parts: Mapping[Any, Any]) -> Iterator[_Group]:
    keys = list(parts)
    yield list(parts.values()), lambda index: f"{path}[{describe_value(keys[index])}]"
    yield keys, lambda index: f"list({path})[{index}]"


def _of_function(path: str, function: FunctionType) -> Iterator[_Group]:
    cells = zip(function.__code__.co_freevars, function.__closure__ or (), strict=True)
    used = {var: cell.cell_contents for var, cell in cells if cell != _EMPTY}
    used |= {var: function.__globals__[var] for var in _globals_of(function.__code__) if var in function.__globals__}
    yield _named({f"{path}:{var}": part for var, part in used.items()})
    yield function.__defaults__ or (), lambda index: f"{path}.__defaults__[{index}]"
    yield from _items(f"{path}.__kwdefaults__", function.__kwdefaults__ or {})
    yield _named({f"{path}.{name}": part for name, part in vars(function).items()})
    yield from _items(f"{path}.__annotations__", function.__annotations__)


_EMPTY = CellType()


def _globals_of(code: CodeType) -> set[str]:
    found = {step.argval for step in dis.get_instructions(code) if step.opname.endswith("_GLOBAL")}
    return found.union(*(_globals_of(inner) for inner in code.co_consts if isinstance(inner, CodeType)))


def _of_object(path: str, value: Any) -> Iterator[_Group]:
    kind: Any = type(value)
    numpy = sys.modules.get("numpy")
    if numpy is not None and issubclass(kind, numpy.ndarray) and value.dtype.hasobject:
        yield value.ravel().tolist(), lambda index: f"{path}.flat[{index}]"
        return
    if issubclass(kind, tuple):
        names = getattr(kind, "_fields", None)
        yield tuple(value), lambda index: f"{path}.{names[index]}" if names else f"{path}[{index}]"
    elif issubclass(kind, BaseException):
        yield value.args, lambda index: f"{path}.args[{index}]"
    reduce = copyreg.dispatch_table.get(kind)
    reduced = reduce(value) if reduce else value.__reduce_ex__(_PROTOCOL)
    if isinstance(reduced, str):  # pickled by name
        return
    made_by, args, state, items, pairs = (*reduced, None, None, None)[:5]
    paths = {id(part): f"{path}.{name}" for name, part in _attributes(value)} | {id(kind): f"type({path})"}

    def known(parts: Sequence[Any], path_of: Callable[[int], str]) -> _Group:
        return parts, lambda index: paths.get(id(parts[index])) or path_of(index)

    if isinstance(state, tuple) and len(state) == 2 and isinstance(state[1], dict):  # the dictionary, and the slots
        state = {**(state[0] or {}), **state[1]}
    by = "__getstate__()" if kind.__getstate__ != object.__getstate__ else "__reduce__()[2]"
    if isinstance(state, dict):
        for parts, path_of in _items(f"{path}.{by}", state):
            yield known(parts, path_of)
    elif isinstance(state, (list, tuple)):
        yield known(state, lambda index: f"{path}.{by}[{index}]")
    else:
        yield known([state], lambda _: f"{path}.{by}")
    yield list(islice(items or (), _MOST_ITEMS)), lambda index: f"{path}[{index}]"
    yield from _items(path, dict(islice(pairs or (), _MOST_ITEMS)))
    yield known(args, lambda index: f"{path}.__reduce__()[1][{index}]")
    yield known([made_by], lambda _: f"{path}.__reduce__()[0]")


def _attributes(value: object) -> Iterator[tuple[str, object]]:
    yield from getattr(value, "__dict__", {}).items()
    for cls in type(value).__mro__:
        for name, member in vars(cls).items():  # slots, and members of a class in C
            if isinstance(member, MemberDescriptorType) and hasattr(value, name):
                yield name, getattr(value, name)
