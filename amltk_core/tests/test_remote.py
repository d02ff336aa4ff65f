"""An exception arrives as itself, whatever it holds and however it is made."""

# ruff: noqa: EM101, N818, PYI034, TRY301 - odd exceptions, oddly raised, are what this is about
from __future__ import annotations

import asyncio
import dataclasses
import functools
import json
import pickle
import re
import subprocess
import threading
import traceback
import urllib.error
from typing import NoReturn

import numpy as np
import pydantic
import pytest

from amltk.exceptions import RemoteError, WorkerDied, add_note
from amltk.remote import pack_exception


def carry(error: BaseException) -> BaseException:
    """Raise it, and take it through everything that lies between two processes."""
    try:
        raise error
    except BaseException as raised:
        packed = pack_exception(raised)
    return pickle.loads(pickle.dumps(packed)).unpack()


class KeywordInit(Exception):
    def __init__(self, *, code: int, where: str = "here") -> None:
        super().__init__(f"code {code} at {where}")
        self.code = code


class MoreArguments(Exception):
    def __init__(self, first: int, second: int) -> None:
        super().__init__(first + second)


class OwnNew(Exception):
    def __new__(cls, first: int, *, second: int) -> OwnNew:
        return super().__new__(cls, first, second)

    def __init__(self, first: int, *, second: int) -> None:
        super().__init__(first + second)


class InitThatMustNotRunAgain(Exception):
    made = 0

    def __init__(self) -> None:
        type(self).made += 1


class Slotted(Exception):
    __slots__ = ("code",)

    def __init__(self, code: int) -> None:
        super().__init__("slotted")
        self.code = code


class HoldsALock(Exception):
    def __init__(self, message: str) -> None:
        super().__init__(message, threading.Lock())
        self.lock = threading.Lock()
        self.fine = 3


class TextFromAttribute(Exception):
    def __init__(self, lock: object) -> None:
        super().__init__()
        self.lock = lock

    def __str__(self) -> str:
        return f"locked: {self.lock.locked()}"  # type: ignore[attr-defined]


class TextFails(Exception):
    def __str__(self) -> str:
        msg = "no text"
        raise RuntimeError(msg)


class WithError(OSError):
    def __init__(self, path: str) -> None:
        super().__init__(2, "not there", path)


class Group(ExceptionGroup):
    def derive(self, excs: object) -> Group:
        return Group(self.message, excs)


class GroupWithMore(ExceptionGroup):
    def __new__(cls, errors: list[Exception], code: int) -> GroupWithMore:
        self = super().__new__(cls, "several", errors)
        self.code = code
        return self

    def __init__(self, errors: list[Exception], code: int) -> None: ...


@pytest.mark.parametrize(
    "error",
    [
        ValueError("a", 1),
        ValueError(),
        KeyError("k"),
        KeywordInit(code=3),
        MoreArguments(1, 2),
        OwnNew(1, second=2),
        Slotted(5),
        WithError("/x"),
        OSError(2, "no such", "/x"),
        FileNotFoundError(2, "no such", "/x", None, "/y"),
        OSError("text only"),
        UnicodeDecodeError("utf-8", b"\xff", 0, 1, "bad"),
        SystemExit(3),
        SystemExit(),
        KeyboardInterrupt(),
        StopIteration(5),
        asyncio.CancelledError("why"),
        ImportError("no", name="x", path="y"),
        json.JSONDecodeError("bad", "{", 1),
        subprocess.CalledProcessError(3, ["ls"], b"out", b"err"),
        WorkerDied("gone", pid=3, exit_code=-9),
        RemoteError("text", "some.Error"),
    ],
    ids=repr,
)
def test_type_arguments_attributes_and_text(error: BaseException) -> None:
    arrived = carry(error)
    assert type(arrived) is type(error)
    assert arrived.args == error.args
    assert str(arrived) == str(error)
    names = {*vars(error), "code", "errno", "filename", "filename2", "value", "name", "start", "returncode"}
    for name in names - {"__notes__"}:
        assert getattr(arrived, name, None) == getattr(error, name, None)


class SlottedWithNone(Exception):
    __slots__ = ("__private", "code", "other")

    def __init__(self, code: int | None) -> None:
        super().__init__("slotted")
        self.code = code
        self.other = None
        self.__private = 5

    def __str__(self) -> str:
        return f"{self.args[0]} {self.code} {self.other} {self.__private}"


class KeywordsAlone(Exception):
    """Without arguments, and its way to be pickled is its own."""

    def __init__(self, *, code: int) -> None:
        self.code = code

    def __str__(self) -> str:
        return f"code {self.code}"

    def __reduce__(self) -> tuple[object, ...]:
        return functools.partial(type(self), code=self.code), ()


@dataclasses.dataclass(frozen=True)
class Frozen(Exception):
    code: int
    text: str | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class FrozenSlots(Exception):
    code: int
    text: str | None = None


class ReadOnly(Exception):
    def __init__(self, code: int) -> None:
        super().__init__("read only")
        self.__dict__["code"] = code

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(name)


class MakesItsLockAnew(Exception):
    def __init__(self, code: int) -> None:
        super().__init__(f"code {code}")
        self.code = code
        self.lock = threading.Lock()

    def __reduce__(self) -> tuple[object, ...]:
        return MakesItsLockAnew, (self.code,)

    def __str__(self) -> str:
        return f"{self.args[0]}, locked: {self.lock.locked()}"


class PickleForgets(json.JSONDecodeError):
    """What it inherits makes it anew without what it adds."""

    code = 0

    def __init__(self, msg: str, doc: str, pos: int) -> None:
        super().__init__(msg, doc, pos)


class PickleMakesAnother(Frozen):
    def __reduce__(self) -> tuple[object, ...]:
        return Frozen, (self.code,)


class PickleAddsToTheText(Exception):
    def __init__(self, text: str) -> None:
        super().__init__(f"bad {text}")

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), self.args


class ArgsOfItsOwn(Exception):
    args = ("always",)  # type: ignore[assignment]


class OddNotes(Exception):
    __notes__ = 5


class Model(pydantic.BaseModel):
    count: int


def validation_error(value: object) -> pydantic.ValidationError:
    with pytest.raises(pydantic.ValidationError) as caught:
        Model(count=value)  # type: ignore[arg-type]
    return caught.value


def with_code(error: PickleForgets) -> PickleForgets:
    error.code = 3
    return error


@pytest.mark.parametrize(
    "error",
    [
        validation_error("x"),
        np.exceptions.AxisError(3, 2),
        np.exceptions.AxisError("only a text"),
        SlottedWithNone(3),
        SlottedWithNone(None),
        KeywordsAlone(code=3),
        Frozen(3),
        Frozen(3, text="x"),
        FrozenSlots(3),
        FrozenSlots(3, text="x"),
        ReadOnly(3),
        MakesItsLockAnew(3),
        with_code(PickleForgets("bad", "{", 1)),
        PickleMakesAnother(3, "x"),
        PickleAddsToTheText("text"),
        ArgsOfItsOwn("x"),
        OddNotes("x"),
        BlockingIOError(11, "again", 5),
        subprocess.TimeoutExpired("x", 3, b"out"),
        asyncio.IncompleteReadError(b"x", 3),
        SyntaxError("bad", ("file", 1, 2, "text", 3, 4)),
        urllib.error.URLError("why"),
    ],
    ids=lambda error: type(error).__name__,
)
@pytest.mark.parametrize("cause", [None, MakesItsLockAnew(1), Slotted(2)], ids=lambda cause: type(cause).__name__)
def test_whatever_its_class_does_it_arrives_as_itself(error: BaseException, cause: BaseException | None) -> None:
    BaseException.__cause__.__set__(error, cause)  # type: ignore[attr-defined] # a frozen one refuses it otherwise
    arrived = carry(error)
    assert type(arrived) is type(error)
    assert str(arrived) == str(error)
    assert {k: str(v)[:9] for k, v in vars(arrived).items() if k != "__notes__"} == {
        k: str(v)[:9] for k, v in vars(error).items() if k != "__notes__"
    }
    for name in ("code", "text", "other", "axis", "ndim", "characters_written", "doc", "reason", "lineno"):
        assert getattr(arrived, name, None) == getattr(error, name, None)
    assert type(arrived.__cause__) is type(cause)
    notes = vars(arrived)["__notes__"]
    assert len(notes) == 1
    assert "Remote traceback" in notes[0]
    assert "in carry\n" in notes[0]


def test_errors_of_a_validation_arrive() -> None:
    assert carry(validation_error("x")).errors() == validation_error("x").errors()
    arrived = carry(validation_error([threading.Lock()]))
    assert type(arrived) is pydantic.ValidationError
    assert "unlocked" in str(arrived.errors()[0]["input"])
    # By pydantic's own way, or by that of a library that has registered another one.
    assert re.search(r"shown as text: args\[1\].*\['input'\]", "\n".join(arrived.__notes__))


def test_values_that_hold_something_that_cannot_be_sent_lose_only_that() -> None:
    error = ValueError({"lock": threading.Lock(), "rest": [1, (2, threading.Lock())], threading.Lock(): 3})
    error.more = [1, threading.Lock()]
    arrived = carry(error)
    assert arrived.args[0]["rest"][0] == 1
    assert arrived.args[0]["rest"][1][0] == 2
    assert "lock" in arrived.args[0]["lock"]
    assert arrived.more[0] == 1
    note = "args[0]['lock'], args[0]['rest'][1][1], list(args[0])[2], more[1]"
    assert f"Could not be sent with it, so shown as text: {note}." in arrived.__notes__


def test_what_is_lost_is_shown_in_short() -> None:
    error = ValueError()
    error.model = LargeModel()
    assert carry(error).model == "<LargeModel object>"


class LargeModel:
    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.values = list(range(100_000))

    def __repr__(self) -> NoReturn:
        raise AssertionError


def test_a_note_can_be_added_to_any_exception() -> None:
    for error in (ValueError(), Frozen(3), ReadOnly(3)):
        add_note(error, "first")
        add_note(error, "second")
        assert error.__notes__ == ["first", "second"]


def test_init_is_not_run_again() -> None:
    error = InitThatMustNotRunAgain()
    carry(error)
    assert InitThatMustNotRunAgain.made == 1


def test_what_cannot_be_sent_is_shown_as_text_and_said() -> None:
    arrived = carry(HoldsALock("m"))
    assert type(arrived) is HoldsALock
    assert arrived.args[0] == "m"
    assert "lock" in arrived.args[1]
    assert "lock" in arrived.lock
    assert arrived.fine == 3
    assert any("shown as text: args[1], lock" in note for note in arrived.__notes__)


def test_a_text_that_needs_what_was_lost_leaves_a_stand_in_with_the_text() -> None:
    arrived = carry(TextFromAttribute(threading.Lock()))
    assert isinstance(arrived, RemoteError)
    assert "locked: False" in str(arrived)
    assert arrived.type_name.endswith("TextFromAttribute")


def test_a_class_that_cannot_be_had_leaves_a_stand_in() -> None:
    class Local(Exception):
        pass

    arrived = carry(Local("text"))
    assert isinstance(arrived, RemoteError)
    assert str(arrived).endswith("Local: text")
    assert "in carry" in "".join(arrived.__notes__)


def test_a_text_that_fails_is_no_end() -> None:
    arrived = carry(TextFails())
    assert isinstance(arrived, TextFails)


def test_notes_cause_context_and_traceback() -> None:
    def inner() -> None:
        msg = "inner"
        raise KeyError(msg)

    def outer() -> None:
        try:
            inner()
        except KeyError as cause:
            error = ValueError("outer")
            error.add_note("a note")
            raise error from cause

    with pytest.raises(ValueError, match="outer") as caught:
        outer()
    arrived = carry(caught.value)
    assert arrived.__notes__[0] == "a note"
    assert isinstance(arrived.__cause__, KeyError)
    assert arrived.__suppress_context__
    printed = "".join(traceback.format_exception(arrived))
    assert "in inner" in printed
    assert "in outer" in printed


def test_context_of_an_error_in_an_error() -> None:
    try:
        try:
            raise KeyError("first")
        except KeyError:
            raise ValueError("second")  # noqa: B904
    except ValueError as error:
        arrived = carry(error)
    assert isinstance(arrived.__context__, KeyError)
    assert arrived.__cause__ is None


def test_a_circle_of_causes_comes_to_an_end() -> None:
    first, second = ValueError(1), ValueError(2)
    first.__cause__, second.__cause__ = second, first
    arrived = carry(first)
    assert arrived.__cause__ is not None
    assert arrived.__cause__.args == (2,)


def test_a_very_long_chain_arrives() -> None:
    error: BaseException = ValueError(0)
    for number in range(1, 3000):
        following = ValueError(number)
        following.__context__ = error
        error = following
    arrived = pickle.loads(pickle.dumps(pack_exception(error))).unpack()
    assert arrived.args == (2999,)
    assert arrived.__context__ is not None


def test_groups_with_members_of_all_kinds() -> None:
    members = [KeywordInit(code=1), HoldsALock("x"), ExceptionGroup("deep", [OSError(2, "no such")])]
    arrived = carry(ExceptionGroup("several", members))
    assert type(arrived) is ExceptionGroup
    assert arrived.message == "several"
    assert [type(member) for member in arrived.exceptions] == [KeywordInit, HoldsALock, ExceptionGroup]
    assert type(arrived.exceptions[2].exceptions[0]) is FileNotFoundError
    arrived = carry(BaseExceptionGroup("stop", [KeyboardInterrupt()]))
    assert type(arrived) is BaseExceptionGroup
    assert type(arrived.exceptions[0]) is KeyboardInterrupt


def test_groups_of_ones_own() -> None:
    arrived = carry(Group("several", [ValueError(1)]))
    assert type(arrived) is Group
    arrived = carry(GroupWithMore([ValueError(1)], code=3))
    assert type(arrived) is GroupWithMore
    assert arrived.code == 3
    assert arrived.exceptions[0].args == (1,)


def test_the_ways_to_pickle_can_be_chosen() -> None:
    seen = []

    def dumps(value: object) -> bytes:
        return b"mine" + pickle.dumps(value)

    def loads(data: bytes) -> object:
        seen.append(data[:4])
        return pickle.loads(data[4:])

    packed = pack_exception(KeywordInit(code=3), dumps, loads)
    assert packed.unpack(loads).args == ("code 3 at here",)
    assert set(seen) == {b"mine"}
