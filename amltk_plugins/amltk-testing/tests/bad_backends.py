"""Backends that are wrong in one way each, and one that is right. The kit has to tell which way."""

from __future__ import annotations

import asyncio
import atexit
import dataclasses
import os
import pickle
import signal
import subprocess
import sys
import threading
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor

from amltk.backend import Backend, Capabilities, Execution, ExecutionTimer, HealthCheck
from amltk_testing import calls

ALL = Capabilities(takes_any_function=True, carries_any_exception=True)
EXECUTION = Capabilities(takes_any_function=True, carries_any_exception=True, reports_execution=True)


def threads(max_workers=2):
    return ThreadPoolExecutor(max_workers)


class Wrong(ThreadPoolExecutor):
    """Right so far: what is below changes one thing."""

    def __init__(self):
        super().__init__(2)


class NoExecutor:
    def submit(self, function, *args):
        return function(*args)


class NoFuture(Wrong):
    def submit(self, fn, /, *args, **kwargs):
        return super().submit(fn, *args, **kwargs).result()


class EnforcesNothing(Wrong):
    accepts_options = ("timeout",)

    def submit_call(self, fn, args, kwargs, options):
        options.check_accepted(self.accepts_options, "EnforcesNothing")
        return self.submit(fn, *args, **kwargs)


class IgnoresOptions(Wrong):
    accepts_options = ()

    def submit_call(self, fn, args, kwargs, options):
        return self.submit(fn, *args, **kwargs)


class CallsInAnotherWay(Wrong):
    accepts_options = ()

    def submit_call(self, fn, args, kwargs, options):
        options.check_accepted(self.accepts_options, "CallsInAnotherWay")
        return self.submit(fn, *args, options=options, **{key: kwargs[key] for key in kwargs if key != "options"})


class Shares(Wrong):
    def share(self, obj):
        return Stand(obj)

    def release(self, shared):
        pass

    def submit(self, fn, /, *args, **kwargs):
        def open_it(value):
            return value.obj if isinstance(value, Stand) else value

        named = {name: open_it(value) for name, value in kwargs.items()}
        return super().submit(fn, *map(open_it, args), **named)


class Stand:
    def __init__(self, obj):
        self.obj = obj


class SharesWhatStandsForIt(Shares):
    def submit(self, fn, /, *args, **kwargs):
        return Wrong.submit(self, fn, *args, **kwargs)


class WithExecution(Wrong):
    """Its futures have an `execution`, which is right so far."""

    def submit(self, fn, /, *args, **kwargs):
        timer = ExecutionTimer()

        def call():
            timer.start()
            try:
                return fn(*args, **kwargs)
            finally:
                timer.stop()

        future = super().submit(call)
        future.__class__ = type("WithExecution", (Future,), {"execution": property(lambda _: self.execution(timer))})
        return future

    def execution(self, timer):
        return timer.execution


class KnowsNothing(WithExecution):
    def execution(self, timer):
        return None


class KnowsNoEnd(WithExecution):
    def execution(self, timer):
        return timer.execution and dataclasses.replace(timer.execution, duration=None)


class KnowsAnotherProcess(WithExecution):
    def execution(self, timer):
        return timer.execution and dataclasses.replace(timer.execution, pid=os.getppid())


class KnowsAnotherTime(WithExecution):
    def execution(self, timer):
        return timer.execution and dataclasses.replace(timer.execution, started=timer.execution.started - 3600)


class CountsTheCallAsInstant(WithExecution):
    def execution(self, timer):
        return timer.execution and dataclasses.replace(timer.execution, duration=0.0)


class KnowsTooEarly(WithExecution):
    def execution(self, timer):
        return timer.execution or Execution(host="here")


class NeverResolves(Wrong):
    def submit(self, fn, /, *args, **kwargs):
        return Future()


class ForgetsOne(Wrong):
    def submit(self, fn, /, *args, **kwargs):
        return Future() if args == (57,) else super().submit(fn, *args, **kwargs)


class ForgetsTheCancelled(Wrong):
    def shutdown(self, wait=True, *, cancel_futures=False):
        if cancel_futures:
            while not self._work_queue.empty():
                self._work_queue.get_nowait()
            self._work_queue.put(None)
        super().shutdown(wait)


class ResolvesTwice(Wrong):
    def submit(self, fn, /, *args, **kwargs):
        future = super().submit(fn, *args, **kwargs)

        def again(future):
            if not future.cancelled() and future.exception() is None and not hasattr(future, "again"):
                future.again = True
                future._state = "RUNNING"
                future.set_result(future._result)

        future.add_done_callback(again)
        return future


class ResolvesTwiceLater(Wrong):
    def submit(self, fn, /, *args, **kwargs):
        future = super().submit(fn, *args, **kwargs)

        def again():
            future._state = "RUNNING"
            future.set_result(future._result)

        def later(future):
            if not future.cancelled() and future.exception() is None and not hasattr(future, "again"):
                future.again = threading.Timer(0.2, again)
                future.again.start()

        future.add_done_callback(later)
        return future


class TriesToResolveTwice(Wrong):
    def submit(self, fn, /, *args, **kwargs):
        future = super().submit(fn, *args, **kwargs)
        future.add_done_callback(
            lambda future: future.cancelled() or future.exception() or future.set_result(future.result())
        )
        return future


class SubmitHangs(Wrong):
    def submit(self, fn, /, *args, **kwargs):
        threading.Event().wait()


class LeavesADaemon(Wrong):
    def __init__(self):
        super().__init__()
        subprocess.run(["sh", "-c", "sleep 8 </dev/null >/dev/null 2>&1 &"], check=True)


class LeaksAProcess(Wrong):
    def __init__(self):
        super().__init__()
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(100)"])
        child.__class__.__del__ = lambda *_: None
        atexit.register(child.kill)


class LeaksAThread(Wrong):
    def __init__(self):
        super().__init__()
        threading.Thread(target=threading.Event().wait, name="of the leaking backend", daemon=True).start()


class LeaksADescriptor(Wrong):
    def __init__(self):
        super().__init__()
        os.open(os.devnull, os.O_RDONLY)


class SwallowsAKeyword(Wrong):
    def submit(self, fn, /, *args, priority=0, **kwargs):
        return super().submit(fn, *args, **kwargs)


class LosesKeywords(Wrong):
    def submit(self, fn, /, *args, **kwargs):
        if kwargs and fn is calls.echo:
            return super().submit(fn, *args)
        return super().submit(fn, *args, **kwargs)


class SharesEqualCalls(Wrong):
    def __init__(self):
        super().__init__()
        self.known = {}

    def submit(self, fn, /, *args, **kwargs):
        key = (fn, repr(args), repr(kwargs))
        if key not in self.known:
            self.known[key] = super().submit(fn, *args, **kwargs)
        return self.known[key]


class LosesTracebacks(Wrong):
    def submit(self, fn, /, *args, **kwargs):
        def call():
            error = None
            try:
                return fn(*args, **kwargs)
            except Exception as caught:
                if caught.__cause__ is None and type(caught) is ValueError:
                    error = type(caught)(*caught.args)
                else:
                    raise
            raise error

        return super().submit(call)


class WorkerEndsWithTheProgram(Wrong):
    def submit(self, fn, /, *args, **kwargs):
        if fn is calls.raise_it and not issubclass(args[0], Exception):
            return Future()
        return super().submit(fn, *args, **kwargs)


class TakesAnErrorForACancellation(Wrong):
    def submit(self, fn, /, *args, **kwargs):
        future = Future()

        def call():
            if not future.set_running_or_notify_cancel():
                return
            try:
                future.set_result(fn(*args, **kwargs))
            except asyncio.CancelledError:
                future._state = "PENDING"
                future.cancel()
            except BaseException as error:
                future.set_exception(error)

        inner = super().submit(call)
        inner.add_done_callback(lambda inner: future.cancel() if inner.cancelled() else None)
        return future


class SaysCancelled(Wrong):
    class Future(Future):
        def cancel(self):
            super().cancel()
            return True

    def submit(self, fn, /, *args, **kwargs):
        future = self.Future()

        def call():
            if not future.cancelled() and future.set_running_or_notify_cancel():
                try:
                    future.set_result(fn(*args, **kwargs))
                except BaseException as error:
                    future.set_exception(error)

        inner = super().submit(call)
        inner.add_done_callback(lambda inner: future.cancel() if inner.cancelled() else None)
        return future


class TakesCallsAfterShutdown(Wrong):
    def submit(self, fn, /, *args, **kwargs):
        self._shutdown = False
        return super().submit(fn, *args, **kwargs)


class DoesNotWait(Wrong):
    def shutdown(self, wait=True, *, cancel_futures=False):
        super().shutdown(wait=False, cancel_futures=True)


class AlwaysWaits(Wrong):
    def shutdown(self, wait=True, *, cancel_futures=False):
        super().shutdown(wait=wait or not cancel_futures, cancel_futures=cancel_futures)


class ShutsDownOnce(Wrong):
    closed = 0

    def shutdown(self, wait=True, *, cancel_futures=False):
        self.closed += 1
        if self.closed == 3:
            threading.Event().wait()
        super().shutdown(wait, cancel_futures=cancel_futures)


class OnlyOne(Wrong):
    there = 0

    def __init__(self):
        if OnlyOne.there:
            msg = "there can be only one"
            raise RuntimeError(msg)
        super().__init__()
        OnlyOne.there = 1

    def shutdown(self, wait=True, *, cancel_futures=False):
        super().shutdown(wait, cancel_futures=cancel_futures)
        OnlyOne.there = 0


class InTheCaller(Executor):
    """Runs each call before `submit` comes back."""

    def submit(self, fn, /, *args, **kwargs):
        future = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except BaseException as error:
            future.set_exception(error)
        return future


class Pickles(Wrong):
    """As if there was a process: what it gets and gives is pickled."""

    def submit(self, fn, /, *args, **kwargs):
        data = pickle.dumps((fn, args, kwargs))

        def call():
            function, args, kwargs = pickle.loads(data)
            return pickle.loads(pickle.dumps(function(*args, **kwargs)))

        return super().submit(call)


class PicklesExceptions(Wrong):
    def submit(self, fn, /, *args, **kwargs):
        def call():
            try:
                return fn(*args, **kwargs)
            except ValueError as error:
                raise pickle.loads(pickle.dumps(error)) from error

        return super().submit(call)


def standard_processes():
    import multiprocessing

    return ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("forkserver"))


def end_workers(executor):
    for process in list((executor._processes or {}).values()):
        os.kill(process.pid, signal.SIGKILL)
        process.join()


def refuses(self):
    msg = "nothing is good enough"
    raise ValueError(msg)


def starts_a_process(self):
    subprocess.run([sys.executable, "-c", ""], check=True)


def examines_at_once(_):
    found = subprocess.run([sys.executable, "-c", ""], check=False)
    yield HealthCheck("interpreter", lambda: str(found))


def cleans_up_what_is_not_there(_):
    jobs = {}

    def submit():
        jobs["mine"] = 3
        return "job 3"

    yield HealthCheck("job", submit, runs=True)
    del jobs["mine"]


def backend(name, make=threads, capabilities=ALL, **methods):
    """Make the class of a backend, which is found here by its name."""
    attributes = {"name": name, "summary": "Wrong.", "capabilities": capabilities, "open": lambda self: make()}
    globals()[name] = type(name, (Backend,), attributes | methods)


backend("right")
backend("modest", capabilities=Capabilities())
backend("no_executor", NoExecutor)
backend("no_future", NoFuture)
backend("never_resolves", NeverResolves)
backend("forgets_one", ForgetsOne)
backend("forgets_the_cancelled", ForgetsTheCancelled)
backend("resolves_twice", ResolvesTwice)
backend("resolves_twice_later", ResolvesTwiceLater)
backend("tries_to_resolve_twice", TriesToResolveTwice)
backend("submit_hangs", SubmitHangs)
backend("exits_in_open", lambda: sys.exit("no GPU here"))
backend("leaves_a_daemon", LeavesADaemon)
backend("leaks_a_process", LeaksAProcess)
backend("leaks_a_thread", LeaksAThread)
backend("leaks_a_descriptor", LeaksADescriptor)
backend("swallows_a_keyword", SwallowsAKeyword)
backend("loses_keywords", LosesKeywords)
backend("shares_equal_calls", SharesEqualCalls)
backend("loses_tracebacks", LosesTracebacks)
backend("worker_ends_with_the_program", WorkerEndsWithTheProgram)
backend("takes_an_error_for_a_cancellation", TakesAnErrorForACancellation)
backend("says_cancelled", SaysCancelled)
backend("takes_calls_after_shutdown", TakesCallsAfterShutdown)
backend("does_not_wait", DoesNotWait)
backend("always_waits", AlwaysWaits)
backend("shuts_down_once", ShutsDownOnce)
backend("only_one", OnlyOne)
backend("starts_in_init", __init__=starts_a_process)
backend("refuses_its_options", __init__=refuses)
backend("examines", health_checks=lambda _: [HealthCheck("one", lambda: "1"), HealthCheck("two", lambda: "2")])
backend("examines_at_once", health_checks=examines_at_once)
backend("cleans_up_what_is_not_there", health_checks=cleans_up_what_is_not_there)
backend("examines_the_same_twice", health_checks=lambda _: [HealthCheck("home", os.getcwd)] * 2)
backend("examines_something_else", health_checks=lambda _: [os.getcwd])
backend("says_nothing_of_what_it_finds", health_checks=lambda _: [HealthCheck("home", lambda: None)])
backend("finds_fault", health_checks=lambda _: [HealthCheck("home", lambda: str(1 / 0))])
# Lies
backend("lies_blocks_the_run", InTheCaller)
backend(
    "lies_stops_running_work",
    capabilities=Capabilities(takes_any_function=True, carries_any_exception=True, stops_running_work=True),
    kill=lambda *_: None,
)
backend(
    "leaves_children",
    standard_processes,
    Capabilities(stops_running_work=True, needs_pickling=True),
    kill=lambda _, executor: end_workers(executor),
)
backend(
    "lies_survives_dead_worker",
    capabilities=Capabilities(takes_any_function=True, carries_any_exception=True, survives_dead_worker=True),
)
backend(
    "lies_accepts_options",
    capabilities=Capabilities(takes_any_function=True, carries_any_exception=True, accepts_options=("timeout",)),
)
backend(
    "enforces_no_timeouts",
    EnforcesNothing,
    Capabilities(takes_any_function=True, carries_any_exception=True, accepts_options=("timeout",)),
)
backend("lies_carries_messages", Wrong, dataclasses.replace(ALL, carries_messages=True))
backend("lies_shares_objects", Wrong, dataclasses.replace(ALL, shares_objects=True))
backend("shares_objects", Shares, dataclasses.replace(ALL, shares_objects=True))
backend("shares_what_stands_for_it", SharesWhatStandsForIt, dataclasses.replace(ALL, shares_objects=True))
backend("lies_reports_execution", Wrong, EXECUTION)
backend(
    "lies_reports_execution_of_processes",
    standard_processes,
    Capabilities(needs_pickling=True, reports_execution=True),
)
backend("reports_execution", WithExecution, EXECUTION)
backend("knows_nothing", KnowsNothing, EXECUTION)
backend("knows_no_end", KnowsNoEnd, EXECUTION)
backend("knows_another_process", KnowsAnotherProcess, EXECUTION)
backend("knows_another_time", KnowsAnotherTime, EXECUTION)
backend("counts_the_call_as_instant", CountsTheCallAsInstant, EXECUTION)
backend("knows_too_early", KnowsTooEarly, EXECUTION)
backend("ignores_options", IgnoresOptions)
backend("calls_in_another_way", CallsInAnotherWay)
backend("hides_options", EnforcesNothing)
backend("lies_needs_pickling", Pickles, Capabilities(carries_any_exception=True))
backend(
    "lies_crosses_machines",
    capabilities=Capabilities(takes_any_function=True, carries_any_exception=True, crosses_machines=True),
)
backend("lies_takes_any_function", Pickles, Capabilities(needs_pickling=True, takes_any_function=True))
backend("lies_carries_any_exception", PicklesExceptions)
