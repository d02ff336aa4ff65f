"""Where something cannot be pickled, the error says where."""

from __future__ import annotations

import collections
import dataclasses
import functools
import pickle
import threading
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest

from amltk.remote import unpicklable, unpicklable_call, unpicklable_result

GIVEN = TypeError("cannot pickle it")


class Holder:
    def __init__(self) -> None:
        self.lock = threading.Lock()


def test_the_part_of_a_call_that_cannot_be_pickled_is_named():
    def step(holder):
        return holder

    error = unpicklable_call(GIVEN, len, ([1], {"a": (0, Holder())}), {}, pickle.dumps)
    assert type(error) is pickle.PicklingError
    assert "args[1]['a'][1].lock (of type lock) in a call of len: cannot pickle it." in str(error)
    assert "Let the function make it" in str(error)
    assert "kwargs['by_name']" in str(unpicklable_call(GIVEN, len, (), {"by_name": threading.Lock()}, pickle.dumps))
    assert "step.func (of type function)" in str(
        unpicklable_call(GIVEN, functools.partial(step, 1), (), {}, pickle.dumps)
    )


def test_the_part_of_a_result_that_cannot_be_pickled_is_named():
    error = unpicklable_result(TypeError("no"), len, [1, threading.Lock()], pickle.dumps)
    assert "Cannot pickle what len returned, at result[1] (of type lock): no." in str(error)


def test_what_the_users_own_methods_raise_stays_what_it_is():
    given = LookupError("mine")
    assert unpicklable_result(given, len, 1, pickle.dumps) is given
    assert "what len returned" in given.__notes__[0]


class Slots:
    __slots__ = ("fine", "lock")

    def __init__(self) -> None:
        self.fine = 1
        self.lock = threading.Lock()


class Study:
    def __init__(self) -> None:
        self.store = {"db": Holder()}

    def evaluate(self) -> None: ...


@dataclasses.dataclass(frozen=True, slots=True)
class Frozen:
    fine: int
    bad: object


class Pair(NamedTuple):
    fine: int
    bad: object


class StateOfItsOwn(Holder):
    """Only what its state has is to blame, not the lock that it leaves out."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = Holder()

    def __getstate__(self) -> dict[str, object]:
        return {"fine": 1, "inner": self.inner}


class MadeState(Holder):
    def __getstate__(self) -> dict[str, object]:
        return {"made": Holder()}


class Reduced(Holder):
    def __init__(self) -> None:
        super().__init__()
        self.inner = Holder()

    def __reduce__(self) -> tuple[object, ...]:
        return list, ([], self.inner)


class Refuses:
    def __reduce__(self) -> tuple[object, ...]:
        raise LookupError


class Tagged:
    registry: list[object] = []  # noqa: RUF012 - as users write it


class Tree:
    def __init__(self, parent: Tree | None, levels: int) -> None:
        self.parent = parent
        self.children = [Tree(self, levels - 1) for _ in range(3 * bool(levels))]


def by_value(value: object) -> bytes:
    """Pickle functions and classes with what they refer to, as cloudpickle does."""

    class Pickler(pickle.Pickler):
        def reducer_override(self, obj: Any) -> Any:
            if isinstance(obj, type(by_value)) and obj.__module__ == __name__:
                cells = tuple(cell.cell_contents for cell in obj.__closure__ or ())
                used = tuple(value for name, value in obj.__globals__.items() if name in obj.__code__.co_names)
                return tuple, ((obj.__defaults__, obj.__kwdefaults__, cells, used, obj.__dict__),)
            return (list, (obj.registry,)) if obj is Tagged else NotImplemented

    import io

    Pickler(file := io.BytesIO()).dump(value)
    return file.getvalue()


def where(value: object, dumps: Callable[[Any], object] = pickle.dumps) -> str:
    """Return the path to what is to blame."""
    return str(unpicklable_call(GIVEN, len, (value,), {}, dumps)).split("pickle ", 1)[1].split(" (of type")[0]


@pytest.mark.parametrize(
    ("value", "path"),
    [
        (Study().evaluate, "args[0].__self__.store['db'].lock"),
        (functools.partial(Study().evaluate, 1), "args[0].func.__self__.store['db'].lock"),
        (functools.partial(len, key=[threading.Lock()]), "args[0].keywords['key'][0]"),
        (Slots(), "args[0].lock"),
        (Frozen(1, [Slots()]), "args[0].bad[0].lock"),
        (Pair(1, Slots()), "args[0].bad.lock"),
        (ValueError("fine", Slots()), "args[0].args[1].lock"),
        (StateOfItsOwn(), "args[0].inner.lock"),
        (MadeState(), "args[0].__getstate__()['made'].lock"),
        (Reduced(), "args[0].inner.lock"),
        ([1, Refuses()], "args[0][1]"),
        ({Slots()}, "list(args[0])[0].lock"),
        (frozenset([Slots()]), "list(args[0])[0].lock"),
        ({"fine": 1, Slots(): 2}, "list(args[0])[1].lock"),
        ({"x" * 500: {"a": Slots()}}, f"args[0]['{'x' * 27}...{'x' * 28}']['a'].lock"),
        (collections.deque([1, Slots()]), "args[0][1].lock"),
        (collections.defaultdict(list, {"a": [Slots()]}), "args[0]['a'][0].lock"),
        (collections.OrderedDict(a=Slots()), "args[0]['a'].lock"),
        (collections.UserDict(a=Slots()), "args[0].data['a'].lock"),
        (np.array([[1, {"a": Slots()}]], dtype=object), "args[0].flat[1]['a'].lock"),
        ([0] * 1_000_000 + [Slots()], "args[0][1000000].lock"),
        (dict.fromkeys(range(1_000_000), 0) | {"a": Slots()}, "args[0]['a'].lock"),
    ],
    ids=lambda value: value.split("args[0]")[1] if isinstance(value, str) else type(value).__name__,
)
def test_where_in_a_value(value: object, path: str) -> None:
    assert where(value) == path


def test_where_in_a_function_or_class() -> None:
    lock = threading.Lock()

    def default(x: object = lock) -> None: ...
    def keyword(*, x: object = {"a": lock}) -> None: ...
    def closure() -> object:
        return lock

    def attribute() -> None: ...

    attribute.cache = [lock]  # type: ignore[attr-defined]
    assert where(default, by_value) == "args[0].__defaults__[0]"
    assert where(keyword, by_value) == "args[0].__kwdefaults__['x']['a']"
    assert where(closure, by_value) == "args[0]:lock"
    assert where(attribute, by_value) == "args[0].cache[0]"
    Tagged.registry.append(lock)
    assert where(Tagged(), by_value) == "type(args[0]).registry[0]"


def test_where_in_what_refers_back_to_itself() -> None:
    circle: list[object] = []
    circle += [circle, threading.Lock()]
    assert where(circle) == "args[0][1]"
    tree = Tree(None, 4)
    tree.lock = threading.Lock()  # type: ignore[attr-defined]
    assert where(tree) == "args[0].lock"
    tree = Tree(None, 4)
    tree.children[2].children[1].lock = threading.Lock()  # type: ignore[attr-defined]
    assert where(tree) == "args[0].children[2].children[1].lock"


def test_what_is_nested_too_deeply_is_said_as_that() -> None:
    deep: list[object] = []
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(RecursionError) as caught:
        pickle.dumps(deep)
    error = unpicklable_call(caught.value, len, (1, deep), {}, pickle.dumps)
    assert "Cannot pickle args[1] (of type list) in a call of len: it is nested too deeply." in str(error)


def test_a_search_that_takes_too_long_names_what_it_has_come_to(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unpicklable, "_MOST_SECONDS", 0)
    assert where([[[threading.Lock()]]]) == "args[0]"


def test_the_work_grows_with_the_size_and_the_text_does_not_grow() -> None:
    tried = []

    def dumps(value: object) -> bytes:
        tried.append(value)
        return pickle.dumps(value)

    assert where([[[0] * 1000] * 1000] * 10 + [[[Slots()]]], dumps) == "args[0][10][0][0].lock"
    assert len(tried) < 60
    nested: object = threading.Lock()
    for _ in range(100):
        nested = {"a key": nested}
    assert len(where(nested)) < 350


def test_what_pickle_says_is_cut() -> None:
    error = TypeError("x" * 1_000_000)
    assert len(str(unpicklable_call(error, len, (Slots(),), {}, pickle.dumps))) < 1000
