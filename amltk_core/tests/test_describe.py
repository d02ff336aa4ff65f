"""Calls and functions as text."""

from __future__ import annotations

import collections
import dataclasses
import enum
import fractions
import functools
import operator
import pathlib
from types import SimpleNamespace
from typing import NamedTuple, NoReturn

import numpy as np
import pytest

from amltk import Scheduler
from amltk.checks import check_callable, check_int
from amltk.describe import describe_call, name_of


class Callable:
    def __call__(self) -> None: ...


class NotToBeShown(str):
    __slots__ = ()

    def __repr__(self) -> str:
        raise ValueError


def test_whatever_is_called_has_a_name() -> None:
    assert name_of(operator.mul) == "mul"
    assert name_of(Callable) == name_of(Callable()) == "Callable"
    assert name_of(functools.partial(functools.partial(operator.mul, 2), 3)) == "mul"
    assert name_of(SimpleNamespace(__qualname__=3)) == name_of(SimpleNamespace(__qualname__="")) == "SimpleNamespace"


def test_a_call_is_described_in_short() -> None:
    assert describe_call(operator.mul, (2,), {"by": 0.5}) == "mul(2, by=0.5)"
    assert len(describe_call(operator.mul, ("x" * 1000,), {"by": "y" * 1000})) < 160


@pytest.mark.parametrize("value", [NotToBeShown(), 10**5000], ids=["text", "number"])
def test_a_value_that_cannot_be_shown_does_no_harm(value: object) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - it has no text
        repr(value)
    assert describe_call(operator.mul, (value,), {}).startswith("mul(")


class Untouched(list[int]):
    """Stands for twenty million values: whoever looks at all of them fails."""

    looked_at = 0

    def __init__(self, items: object = range(10_000)) -> None:
        super().__init__(items)  # type: ignore[arg-type]

    def __repr__(self) -> str:
        type(self).looked_at += 1
        return super().__repr__()


@dataclasses.dataclass
class Data:
    name: str
    values: object
    password: str = dataclasses.field(default="secret", repr=False)


@dataclasses.dataclass
class ShownByItself:
    values: object

    def __repr__(self) -> str:
        return f"ShownByItself({self.values!r})"


class Pair(NamedTuple):
    name: str
    values: object


class Model:
    def __init__(self, values: object) -> None:
        self.values = values

    def __repr__(self) -> str:
        return f"Model({self.values!r})"

    def fit(self) -> None: ...


class Color(enum.Enum):
    RED = 1


class Table:
    """As a table of pandas: to measure it is to look at all of it."""

    shape = (20_000_000, 3)

    def __sizeof__(self) -> NoReturn:
        raise AssertionError

    def __repr__(self) -> NoReturn:
        raise AssertionError


def shown(value: object) -> str:
    return describe_call(operator.mul, (value,), {})[4:-1]


LARGE = list(range(10_000))
ZEROS = "{0: 0, 1: 0, 2: 0, 3: 0, 4: 0, 5: 0, ...}"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (LARGE, "[0, 1, 2, 3, 4, 5, ...]"),
        (Data("x", LARGE), "Data(name='x', values=[0, 1, 2, 3, 4, 5, ...])"),
        (Data("x", [1]), "Data(name='x', values=[1])"),
        (ShownByItself(LARGE), "<ShownByItself object>"),
        (ShownByItself([1]), "ShownByItself([1])"),
        (Pair("x", LARGE), "Pair(name='x', values=[0, 1, 2, 3, 4, 5, ...])"),
        (Model(LARGE), "<Model object>"),
        (Model([1, {"a": 2}]), "Model([1, {'a': 2}])"),
        (Model(LARGE).fit, "Model.fit"),
        (functools.partial(operator.mul, LARGE), "<partial object>"),
        (SimpleNamespace(values=LARGE), "<SimpleNamespace object>"),
        (SimpleNamespace(lr=0.1), "namespace(lr=0.1)"),
        (collections.deque(LARGE), "deque([0, 1, 2, 3, 4, 5, ...])"),
        (collections.defaultdict(list, dict.fromkeys(LARGE, 0)), f"defaultdict({ZEROS})"),
        (collections.OrderedDict(a=1), "OrderedDict({'a': 1})"),
        (collections.Counter(), "Counter()"),
        (collections.UserDict(dict.fromkeys(LARGE)), "<UserDict object>"),
        (ValueError(LARGE), "<ValueError object>"),
        (slice(LARGE), "<slice object>"),
        (b"x" * 10_000_000, f"b'{'x' * 26}...{'x' * 28}'"),
        (bytearray(10_000_000), "<bytearray object>"),
        (np.zeros((1000, 1000)), "<ndarray of shape (1000, 1000)>"),
        (np.array(LARGE, dtype=object), "<ndarray of shape (10000,)>"),
        (np.array(Model(LARGE), dtype=object), "<ndarray of shape ()>"),
        (np.float64(0.5), repr(np.float64(0.5))),
        (Table(), "<Table of shape (20000000, 3)>"),
        (10**5000, "<int of 16610 bits>"),
        (fractions.Fraction(1, 2), "Fraction(1, 2)"),
        (pathlib.PurePosixPath("/data"), "PurePosixPath('/data')"),
        (Color.RED, "<Color.RED: 1>"),
        ([[[[[1]]]]], "[[[[...]]]]"),
        ((1,), "(1,)"),
        (set(), "set()"),
        (frozenset({1}), "frozenset({1})"),
        ({"a": ["b", None, True, 0.1]}, "{'a': ['b', None, True, 0.1]}"),
        (Data, "Data"),
        (np, "numpy"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_value_is_shown_without_looking_at_all_of_it(value: object, text: str) -> None:
    assert shown(value) == text


@pytest.mark.parametrize(
    "wrap", [lambda v: v, Model, ShownByItself, lambda v: [v], lambda v: {"a": Model(v)}, ValueError]
)
def test_no_repr_of_what_is_large_is_made(wrap: object) -> None:
    Untouched.looked_at = 0
    assert "Untouched" not in shown(Untouched([1, 2]))
    assert Untouched.looked_at == 1
    shown(wrap(Untouched()))  # type: ignore[operator]
    assert Untouched.looked_at == 1


def test_many_large_arguments_are_described_in_short() -> None:
    args = tuple(Model(Model(value)) for value in range(100))
    text = describe_call(operator.mul, args, {f"name{number}": LARGE for number in range(100)})
    assert text.startswith("mul(Model(Model(0)), ")
    assert text.endswith(", name5=[0, 1, 2, 3, 4, 5, ...], ...)")
    deep = [[[str(number) * 100 for number in range(100)]] * 100] * 100
    assert len(describe_call(operator.mul, (deep,), {"deep": deep})) < 1000
    wide = [[[[SimpleNamespace(a=[number, number]) for number in range(20)]] * 10] * 10 for _ in range(100)]
    assert describe_call(operator.mul, (wide, Model(1), 0.5), {}).endswith("Model(1), 0.5)")


def test_what_is_odd_does_no_harm() -> None:
    class NoText:
        def __repr__(self) -> str:
            return 3  # type: ignore[return-value]

    class Exits:
        def __repr__(self) -> NoReturn:
            raise SystemExit

    class Recurses:
        def __repr__(self) -> str:
            return repr(self)

    class NoAttributes:
        def __getattr__(self, name: str) -> NoReturn:
            raise LookupError

    @dataclasses.dataclass
    class Unfinished:
        value: int

    local = "test_what_is_odd_does_no_harm.<locals>."
    for cls in (NoText, Exits, Recurses):
        assert shown(cls()) == f"<{cls.__name__} object>"
    assert shown(Unfinished.__new__(Unfinished)) == "<Unfinished object>"
    assert name_of(NoAttributes()) == f"{local}NoAttributes"
    circle: list[object] = []
    circle.append(circle)
    assert shown(circle) == "[[[[...]]]]"


def test_messages_about_values_are_short() -> None:
    large = Data("x", LARGE)
    with pytest.raises(TypeError) as caught:
        check_callable("fn", Model(LARGE))
    assert str(caught.value) == "fn must be callable, got <Model object> of type Model."
    with pytest.raises(TypeError, match=r"got Data\(name='x', values=\[0, 1, 2, 3, 4, 5, ...\]\)"):
        check_int("count", large, at_least=1)
    scheduler = Scheduler.with_sequential()
    task = scheduler.task(functools.partial(operator.mul, LARGE))
    assert task.name == "<partial object>"
    task.on_result(functools.partial(operator.mul, LARGE))
    assert len(repr(scheduler)) < 500
