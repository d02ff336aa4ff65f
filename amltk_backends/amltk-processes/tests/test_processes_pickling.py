"""What travels between the processes, and what the user sees of what can't."""

# ruff: noqa: EM101, N818, TRY301 - odd exceptions, oddly raised, are what some of this is about
from __future__ import annotations

import collections
import functools
import operator
import pickle
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from calls_for_processes import OwnInit, RaisesWhenPickled, Unpicklable, add

from amltk_processes import ProcessPoolExecutor


@pytest.fixture(scope="module")
def executor() -> Iterator[ProcessPoolExecutor]:
    with ProcessPoolExecutor(1) as executor:
        executor.submit(add, 1).result()
        yield executor


def test_lambdas_closures_and_nested_functions(executor: ProcessPoolExecutor) -> None:
    factor = 3

    def times(x: int) -> int:
        return inner(x) * factor

    def inner(x: int) -> int:
        return x + 1

    assert executor.submit(lambda x: x + 1, 1).result() == 2
    assert executor.submit(times, 1).result() == 6
    assert list(executor.submit(lambda f, xs: list(map(f, xs)), times, [1, 2]).result()) == [6, 9]


def test_what_else_can_be_called(executor: ProcessPoolExecutor) -> None:
    assert executor.submit(functools.partial(add, y=5), 1).result() == 6
    assert executor.submit([3, 1].index, 1).result() == 1
    assert executor.submit(operator.itemgetter(1), "abc").result() == "b"
    assert executor.submit(collections.Counter, "aab").result() == {"a": 2, "b": 1}
    assert executor.submit(functools.partial(lambda x, y: x - y, 5), 3).result() == 2


def test_a_callable_that_changes_is_sent_as_it_is(executor: ProcessPoolExecutor) -> None:
    class Adds:
        def __init__(self) -> None:
            self.n = 0

        def __call__(self, x: int) -> int:
            return x + self.n

        def method(self, x: int) -> int:
            return self(x)

    adds = Adds()
    assert executor.submit(adds, 1).result() == 1
    adds.n = 5
    assert executor.submit(adds, 1).result() == 6
    assert executor.submit(adds.method, 1).result() == 6


def test_endless_new_functions_work_and_fill_no_memory(executor: ProcessPoolExecutor) -> None:
    first = executor.submit(lambda: 0)
    functions = [lambda n=n: n for n in range(700)]
    for _ in range(2):
        assert [f.result() for f in [executor.submit(function) for function in functions]] == list(range(700))
    assert first.result() == 0
    del functions
    assert len(executor._pickler._functions) < 50

    def kept() -> int:
        import gc

        from amltk_processes._worker import _Function

        return sum(isinstance(thing, _Function) for thing in gc.get_objects())

    assert 1 <= executor.submit(kept).result() <= 256 + 64  # those known, and those ahead


def test_an_argument_that_cannot_be_pickled_is_named(executor: ProcessPoolExecutor) -> None:
    class Model:
        def __init__(self) -> None:
            self.name = "m"
            self.lock = threading.Lock()

    def fit(*_: object, **__: object) -> None: ...

    lock = threading.Lock()
    for args, kwargs, path in (
        ((Model(),), {}, "args[0].lock (of type lock) in a call of"),
        ((1, [{"a": (0, lock)}]), {}, "args[1][0]['a'][1] (of type lock)"),
        ((), {"x": Model()}, "kwargs['x'].lock (of type lock)"),
    ):
        error = executor.submit(fit, *args, **kwargs).exception()
        assert isinstance(error, pickle.PicklingError)
        assert path in str(error)
        assert "fit" in str(error)
    error = executor.submit(lambda: lock).exception()
    assert isinstance(error, pickle.PicklingError)
    assert "<lambda>:lock (of type lock)" in str(error)
    assert executor.submit(add, 1).result() == 2


def test_an_initializer_that_cannot_be_pickled_is_named_in_the_words_of_the_user() -> None:
    with pytest.raises(pickle.PicklingError, match=r"args\[1\] \(of type lock\) in a call of setattr"):
        ProcessPoolExecutor(1, initializer=setattr, initargs=("x", threading.Lock()))


def test_what_the_users_own_pickling_raises_arrives_as_itself(executor: ProcessPoolExecutor) -> None:
    error = executor.submit(add, [RaisesWhenPickled()]).exception()
    assert isinstance(error, ZeroDivisionError)
    assert "args[0][0]" in "".join(error.__notes__)
    error = executor.submit(lambda: __import__("calls_for_processes").RaisesWhenPickled()).exception()
    assert isinstance(error, ZeroDivisionError)
    assert "what" in "".join(error.__notes__)


def test_a_result_that_cannot_be_pickled_is_named(executor: ProcessPoolExecutor) -> None:
    def train() -> object:
        return {"model": [threading.Lock()]}

    error = executor.submit(train).exception()
    assert isinstance(error, pickle.PicklingError)
    assert "train returned, at result['model'][0] (of type lock)" in str(error)


def test_arguments_that_fail_to_unpickle_fail_their_call_only(executor: ProcessPoolExecutor) -> None:
    worker = executor.submit(lambda: __import__("os").getpid()).result()
    error = executor.submit(add, Unpicklable("there")).exception()
    assert isinstance(error, LookupError)
    assert error.args == ("there",)
    notes = "".join(error.__notes__)
    assert f"unpickled in worker process {worker}" in notes
    assert "fail_to_load" in notes
    assert executor.submit(lambda: __import__("os").getpid()).result() == worker


def test_a_function_that_fails_to_unpickle_fails_each_of_its_calls(executor: ProcessPoolExecutor) -> None:
    broken = Unpicklable("there")
    futures = [executor.submit(lambda: broken) for _ in range(3)]
    assert [type(future.exception()) for future in futures] == [LookupError] * 3


def test_a_result_that_fails_to_unpickle_fails_its_call_only(executor: ProcessPoolExecutor) -> None:
    def make() -> object:
        from calls_for_processes import Unpicklable

        return Unpicklable("here")

    error = executor.submit(make).exception()
    assert isinstance(error, LookupError)
    assert "make returned was unpickled in the main process" in "".join(error.__notes__)
    assert executor.submit(add, 1).result() == 2


def test_100_mb_go_and_come_while_others_are_served(tmp_path: Path) -> None:
    big = bytes(100_000_000)
    with ProcessPoolExecutor(2) as executor:
        large = [executor.submit(lambda x: x, big) for _ in range(2)]
        small = [executor.submit(add, i) for i in range(100)]
        assert [future.result() for future in small] == list(range(1, 101))
        assert all(future.result() == big for future in large)


def test_a_worker_that_dies_in_the_middle_of_a_large_argument(tmp_path: Path) -> None:
    with ProcessPoolExecutor(1) as executor:
        die = executor.submit(lambda: __import__("os")._exit(1))
        large = executor.submit(len, bytes(30_000_000))
        assert die.exception() is not None
        assert large.result() == 30_000_000


class TestErrors:
    def test_with_an_init_of_its_own(self, executor: ProcessPoolExecutor) -> None:
        def fail() -> None:
            from calls_for_processes import OwnInit

            raise OwnInit(code=3)

        error = executor.submit(fail).exception()
        assert isinstance(error, OwnInit)
        assert error.code == 3
        assert "in fail" in "".join(error.__notes__)

    def test_with_cause_notes_and_members(self, executor: ProcessPoolExecutor) -> None:
        def fail() -> None:
            try:
                raise KeyError("inner")
            except KeyError as inner:
                error = ExceptionGroup("several", [ValueError(1), OSError(2, "no such")])
                error.add_note("a note")
                raise error from inner

        error = executor.submit(fail).exception()
        assert isinstance(error, ExceptionGroup)
        assert [type(member) for member in error.exceptions] == [ValueError, FileNotFoundError]
        assert "a note" in error.__notes__
        assert isinstance(error.__cause__, KeyError)

    @pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt, GeneratorExit, RecursionError, MemoryError])
    def test_that_end_programs_elsewhere(self, executor: ProcessPoolExecutor, kind: type[BaseException]) -> None:
        def fail() -> None:
            raise kind("why")

        error = executor.submit(fail).exception()
        assert type(error) is kind
        assert error.args == ("why",)

    def test_of_a_real_recursion(self, executor: ProcessPoolExecutor) -> None:
        def fail(n: int) -> int:
            return fail(n + 1) + 1

        assert isinstance(executor.submit(fail, 0).exception(), RecursionError)

    def test_of_a_class_of_their_own(self, executor: ProcessPoolExecutor) -> None:
        class Mine(Exception):
            def __init__(self, lock: object) -> None:
                super().__init__("mine")
                self.lock = lock

        def fail() -> None:
            raise Mine(threading.Lock())

        error = executor.submit(fail).exception()
        assert type(error) is Mine
        assert "lock" in str(error.lock)

    def test_that_nothing_can_describe(self, executor: ProcessPoolExecutor) -> None:
        class Odd(Exception):
            def __str__(self) -> str:
                raise SystemExit

        def fail() -> None:
            raise Odd

        assert executor.submit(fail).exception(timeout=20) is not None
        assert executor.submit(add, 1).result() == 2


SCRIPT = """
import sys
from dataclasses import dataclass
from enum import Enum
from amltk_processes import ProcessPoolExecutor

print("the script runs")
SHIFT = 10

class Color(Enum):
    RED = 1

@dataclass
class Trial:
    x: int
    color: Color = Color.RED
    made = 0

    def shifted(self):
        return self.x + SHIFT

class Refused(Exception):
    pass

def helper(x):
    return x * 2

def evaluate(trial):
    if trial.x < 0:
        raise Refused(trial.x)
    Trial.made += 1
    return Trial(helper(trial.x), trial.color)

method = Trial.shifted
with ProcessPoolExecutor(2) as executor:
    for trial in executor.map(evaluate, map(Trial, range(20))):
        assert type(trial) is Trial and trial.color is Color.RED, trial
    assert executor.submit(Trial.shifted, Trial(1)).result() == 11
    assert executor.submit(Trial(1).shifted).result() == 11
    SHIFT = 20
    assert trial.shifted() == 58  # the class is still this script's, with this script's globals
    assert Trial.shifted is method and Trial.made == 0
    error = executor.submit(evaluate, Trial(-1)).exception()
    assert type(error) is Refused and error.args == (-1,), error
    class Local:
        def value(self):
            return self.v
    local = Local()
    local.v = 3
    back = executor.submit(lambda x: (x, Local()), local).result()
    assert [type(x) for x in back] == [Local, Local] and back[0].value() == 3
    made = executor.submit(lambda: type("Made", (), {"__doc__": "d", "f": lambda self: 1})).result()
    assert made.__doc__ == "d" and made().f() == 1
print("done")
"""


def test_a_script_without_guard_with_everything_in_main(tmp_path: Path) -> None:
    path = tmp_path / "script.py"
    path.write_text(SCRIPT)
    done = subprocess.run([sys.executable, path], capture_output=True, text=True, timeout=50, check=False)
    assert (done.stdout, done.stderr) == ("the script runs\ndone\n", "")


def test_modules_beside_the_script_and_output_of_calls(tmp_path: Path) -> None:
    (tmp_path / "beside.py").write_text("import os\ndef say(x):\n    print('said', x)\n    os.write(1, b'')\n")
    script = "import beside\nfrom amltk_processes import ProcessPoolExecutor\n"
    script += "with ProcessPoolExecutor(1) as p:\n    p.submit(beside.say, 1).result()\nprint('end')\n"
    (tmp_path / "script.py").write_text(script)
    command = [sys.executable, tmp_path / "script.py"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=50, check=False)
    assert (done.stdout, done.stderr) == ("said 1\nend\n", "")


def test_a_function_of_main_costs_what_an_imported_one_does(executor: ProcessPoolExecutor) -> None:
    pickler = executor._pickler
    function = lambda: None  # noqa: E731
    first, _, _ = pickler.pickle(function, (), {})
    again, data, _ = pickler.pickle(function, (), {})
    assert again is first
    assert len(data) < 50
