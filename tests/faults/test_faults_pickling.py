"""Group B: something cannot cross to a worker, or back."""

from __future__ import annotations

import multiprocessing

import fault_calls as calls


def start_methods(case) -> list[str | None]:
    return [None, "forkserver", "spawn", "fork"] if "mp_context=" in case.place.has else [None]


def test_b1_any_function(case):
    step = 3

    def nested(x: int) -> int:
        return x + step

    for method in start_methods(case):
        case.open(**({"mp_context": multiprocessing.get_context(method)} if method else {}))
        tasks = [case.task(nested), case.task(lambda x: x + step)]
        case.at_start(lambda tasks=tasks: [task(1) for task in tasks])
        case.run()
        assert [case.results(task) for task in tasks] == [[4], [4]]


def test_b1_function_of_the_script(case):
    for method in start_methods(case):
        printed = case.script(f"""
            import multiprocessing
            from amltk import Scheduler

            class Thing:
                def __init__(self, value):
                    self.value = value

            def grow(thing):
                return Thing(thing.value + 1)

            options = OPTIONS
            if {method!r}:
                options["mp_context"] = multiprocessing.get_context({method!r})
            scheduler = Scheduler.with_backend(NAME, **options)
            task = scheduler.task(grow)
            scheduler.on_start(lambda: task(Thing(1)))
            task.on_result(lambda _, thing: print(type(thing) is Thing, thing.value))
            scheduler.run()
            """)
        assert printed == "True 2\n"


def test_b2_argument_that_cannot_be_pickled(case):
    error = case.error_among_others(calls.take, calls.HoldsLock())
    case.reached_no_worker = True
    assert "args[0].lock" in str(error)
    assert "Let the function make it" in str(error)


def test_b3_argument_that_raises_when_pickled(case):
    error = case.error_among_others(calls.take, calls.FailsToPickle())
    case.reached_no_worker = True
    assert isinstance(error, LookupError)
    assert error.args == ("not with me",)


def test_b4_argument_that_raises_when_unpickled(case):
    error = case.error_among_others(calls.take, calls.FailsToUnpickle())
    assert isinstance(error, LookupError)
    assert error.args == ("not in this process",)


def test_b5_result_that_cannot_be_pickled(case):
    error = case.error_among_others(calls.give_lock)
    assert "give_lock" in str(error)
    assert "result['model'][0]" in str(error)
    assert "write the rest to a file" in str(error)


def test_b7_exception_with_an_init_of_its_own(case):
    error = case.error_among_others(calls.fail_with_own_init)
    assert type(error) is calls.OwnInit
    assert str(error) == "code 7 at home"
    assert error.code == 7


def test_b8_exception_that_holds_a_lock(case):
    error = case.error_among_others(calls.fail_with_lock)
    assert type(error) is ValueError
    assert str(error) == "it holds a lock"
    assert "lock" in repr(error.lock)


def test_b9_large_result(case):
    if case.place.name != "processes":
        case.longest_block = 0.75  # these engines unpickle it in one piece, with the interpreter's lock
    task = case.task(calls.give_bytes)
    case.at_start(lambda: task(300_000_000))
    case.run()
    ((how, result),) = case.ended(task)
    assert (how, len(result)) == ("result", 300_000_000)
