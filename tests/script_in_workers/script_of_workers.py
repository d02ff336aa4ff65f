"""A program without a guard, whose calls need what libraries expect of `__main__`. Prints what each check found.

Usage: script_of_workers.py NAME [OPTIONS], as of `Scheduler.with_<NAME>(**OPTIONS)`.
"""

# ruff: noqa: PIE796, PLW0603, T201 - as users write
import dataclasses
import enum
import functools
import io
import json
import multiprocessing
import pickle
import sys
import typing
from concurrent.futures import ProcessPoolExecutor

import pydantic

from amltk import Scheduler


class Named(typing.NamedTuple):
    a: int


class Registered:
    kinds = {}  # noqa: RUF012
    steps = ()

    def __init_subclass__(cls, *, kind):
        cls.steps = [name for name in vars(cls) if name.startswith("step_")]
        Registered.kinds[kind] = cls
        cls.upper = cls.label.upper()  # a class without its attributes can't be registered


class Pipe(Registered, kind="pipe"):
    label = "a"

    def step_a(self): ...


class Counts(type):
    made = 0

    def __new__(mcs, name, bases, namespace):
        namespace["number"] = Counts.made = Counts.made + 1
        return super().__new__(mcs, name, bases, namespace)


class Counted(metaclass=Counts):
    pass


class Config(pydantic.BaseModel):
    n: int
    other: "Config | None" = None


class Typed(typing.TypedDict):
    x: int


class Planet(enum.Enum):
    EARTH = (1, 2)
    TERRA = (1, 2)

    def __init__(self, mass, radius):
        self.mass = mass


class Access(enum.Flag):
    READ = 1
    WRITE = 2
    BOTH = 3


class Slotted:
    __slots__ = ("_Slotted__b", "a")

    def __init__(self):
        self.a, self.__b = 1, 2


@dataclasses.dataclass
class Model:
    x: int
    y: "Named | None" = None

    class Part:
        pass

    @functools.cached_property
    def twice(self):
        return 2 * self.x

    @staticmethod
    @functools.lru_cache
    def cached(x):
        return x


class Hello:
    def hello(self):
        return "hello"


class Twice(Hello):
    def hello(self):
        return super().hello() * 2

    four_times = functools.partialmethod(lambda self, n: self.hello() * n, 2)


@functools.singledispatch
def show(x):
    return "thing"


@show.register
def _(x: int):
    return "number"


def counted(function):
    @functools.wraps(function)
    def wrapper(*args):
        wrapper.calls += 1
        return [function(*args), wrapper.calls]

    wrapper.calls = 0
    return wrapper


@counted
def decorated(x):
    return x


class Marker:
    def __reduce__(self):
        return "MISSING"


MISSING = Marker()
T = typing.TypeVar("T")
UserId = typing.NewType("UserId", int)


class Box(typing.Generic[T]):
    pass


model = None
count = 0
limit = 5
history = []
models = {"class": Model, "best": None}


def load():
    global model
    model = "loaded"


def predict():
    return model


def bump():
    global count
    count += 1


def read():
    return count


@functools.lru_cache
def square(x):
    return x * x


@functools.cache
def fibonacci(n):
    return n if n < 2 else fibonacci(n - 1) + fibonacci(n - 2)


def helper(x):
    return x + limit


def pool(method):
    with multiprocessing.get_context(method).Pool(1) as workers:
        return workers.map(helper, [1, 2])


def executor(method):
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context(method)) as workers:
        return workers.submit(helper, Model(1).x).result()


def dump(thing):
    file = io.BytesIO()
    pickle.Pickler(file).dump(thing)
    return type(pickle.loads(file.getvalue())).__name__


CHECKS = {}


def check(right):
    def add(function):
        CHECKS[function.__name__] = (function, right)
        return function

    return add


# Each gets `call`, which submits a call and returns its result, and returns what must equal the value above.
@check([3])
def named_tuple(call):
    return list(call(lambda: Named(3)))


@check([["step_a"], "A", ["pipe"], True])
def hook_of_subclasses(call):
    return call(lambda: [Pipe.steps, Pipe.upper, list(Registered.kinds), Registered.kinds["pipe"] is Pipe])


@check([1, 1])
def metaclass(call):
    return call(lambda: [Counted.number, Counts.made])


@check([{"n": 3, "other": None}, "int_parsing", True])
def pydantic_model(call):
    def fails():
        try:
            Config(n="x")
        except pydantic.ValidationError as error:
            return error.errors()[0]["type"]

    return [call(lambda: Config(n="3").model_dump()), call(fails), type(call(lambda: Config(n=3))) is Config]


@check(["int"])
def typed_dict(call):
    return call(lambda: [kind.__name__ for kind in Typed.__annotations__.values()])


@check([1, True, ["EARTH", "TERRA"], True, True])
def enumeration(call):
    found = call(lambda: [Planet.EARTH.mass, Planet["TERRA"] is Planet.EARTH, list(Planet.__members__)])
    same = call(lambda planet: planet is Planet.EARTH, Planet.EARTH)
    return [*found, same, call(lambda: Access.READ | Access.WRITE) is Access.BOTH]


@check([False, 3])
def slots(call):
    return call(lambda: [hasattr(Slotted(), "__dict__"), Slotted().a + Slotted()._Slotted__b])


@check([True, False, ["x", "y"]])
def dataclass_fields(call):
    return call(
        lambda: [
            *[field.default is dataclasses.MISSING for field in dataclasses.fields(Model)],
            [field.name for field in dataclasses.fields(dataclasses.replace(Model(1), x=2))],
        ]
    )


@check([4, 3])
def cached_attributes(call):
    return call(lambda m: [m.twice, m.cached(3)], Model(2))


@check(["hellohello", "hello" * 4])
def super_and_partial_methods(call):
    return [call(Twice.hello, Twice()), call(lambda: Twice().four_times())]


@check([["number", "thing"], "number"])
def single_dispatch(call):
    return [call(lambda: [show(1), show("a")]), call(show, 1)]


@check([[1, 1], [1, 2], [2, 3]])
def decorated_functions(call):
    return [call(decorated, 1), call(lambda: decorated(1)), call(lambda: decorated(2))]


@check("loaded")
def initializer_of_globals(call):
    return call(predict)


@check([3, 3, 0])
def shared_globals(call):
    for _ in range(3):
        call(bump)
    return [call(read), call(lambda: count), count]


@check([[1, 2], [2, Model(0).x], ["program"], []])
def shared_data(call):
    call(lambda: history.append(1))
    call(lambda: history.append(2))
    call(lambda: models.update(best=Model(0)))
    first = [call(lambda: history), call(lambda: [len(history), models["best"].x])]
    history.append("program")
    try:
        return [*first, call(lambda: history), history[1:]]
    finally:
        history.clear()


@check([7, 8, True, 7])
def globals_that_the_program_changes(call):
    global limit
    before = limit
    try:
        call(helper, 1)
        limit = 7
        first = call(lambda: limit)
        return [first, call(helper, 1), call(lambda: helper(1)) == 8, call(lambda: limit)]
    finally:
        limit = before


@check([9, [9, 1, 1], 55, 9])
def function_with_a_cache(call):
    first = call(square, 3)
    info = call(lambda: [square(3), square.cache_info().hits, square.cache_info().currsize])
    return [first, info, call(fibonacci, 10), call(lambda f: f(3), square)]


@check([3, True])
def new_type(call):
    return [call(lambda: UserId(3)), call(lambda: pickle.loads(pickle.dumps(UserId)) is UserId)]


@check([True, True])
def sentinel_of_the_script(call):
    return [call(lambda x: x is MISSING, MISSING), call(lambda: MISSING) is MISSING]


@check(["Model", "Part", "Named", "Planet", True, True])
def pickled_in_a_call(call):
    return [
        call(lambda: dump(Model(1))),
        call(dump, Model.Part()),
        call(dump, Named(1)),
        call(dump, Planet.EARTH),
        call(lambda: pickle.loads(pickle.dumps(helper)) is helper),
        call(lambda: pickle.loads(pickle.dumps(T)) is T and Box.__parameters__ == (T,)),
    ]


@check([[6, 7], 6])
def nested_pools(call):
    return [call(pool, None), call(executor, "spawn")]


@check([["x", "y"], True])
def type_hints(call):
    return [
        call(lambda: list(typing.get_type_hints(Model))),
        call(lambda: typing.get_type_hints(Model)["y"] == Named | None),
    ]


@check([True, "__main__", "helper", True])
def module(call):
    import_main = "__import__('__main__')"
    return [
        call(lambda: eval(import_main).__file__) == __file__,
        call(lambda: eval(import_main).__name__),
        call(lambda: eval(import_main).helper.__name__),
        call(lambda: eval(import_main).__dict__ is helper.__globals__),
    ]


@check([True, True])
def traceback_with_source(call):
    def fails():
        raise ValueError(1)

    try:
        call(fails)
    except ValueError as error:
        text = "".join(error.__notes__)
    return [__file__ in text, "raise ValueError(1)" in text]


@check([True, True, "<class '__main__.Model'>"])
def the_programs_own_are_left_alone(call):
    before = dict(vars(Model)), helper.__globals__["limit"]
    call(lambda: setattr(Model, "extra", 1))
    back = call(lambda: Model(1))
    return [dict(vars(Model)) == before[0], type(back) is Model, str(type(back))]


def main(name, options):
    scheduler = getattr(Scheduler, f"with_{name}")(**options)
    found = {}

    async def run_all():
        for label, (function, right) in CHECKS.items():
            try:
                value = await loop.run_in_executor(None, function, call)
            except BaseException as error:
                value = f"{type(error).__name__}: {error}"
            found[label] = [value, right]

    def call(function, *args):
        import asyncio

        async def submit():
            return await scheduler.submit(function, *args)

        return asyncio.run_coroutine_threadsafe(submit(), loop).result(60)

    @scheduler.on_start
    async def start():
        nonlocal loop
        import asyncio

        loop = asyncio.get_running_loop()
        await run_all()

    loop = None
    scheduler.run(on_exception="ignore")
    print(json.dumps(found))


options = json.loads(sys.argv[2])
if "mp_context" in options:
    options["mp_context"] = multiprocessing.get_context(options["mp_context"])
if options.pop("initializer", False):
    options["initializer"] = load
else:
    del CHECKS["initializer_of_globals"]
if len(sys.argv) > 3:
    CHECKS = {name: CHECKS[name] for name in sys.argv[3:]}
main(sys.argv[1], options)
