"""`future.execution` of calls of a run: what the executor's future says, and that of a call that is run again."""

from __future__ import annotations

from concurrent.futures import Future

from amltk import Scheduler, TaskPlugin
from amltk.backend import Execution, ExecutionTimer, ReportsExecution
from amltk_testing import ManualExecutor


class Again(TaskPlugin):
    def __init__(self, seconds):
        self.seconds = seconds
        self.seen = []

    def retry_after(self, future, error):
        self.seen.append(future.execution)
        return self.seconds if len(self.seen) == 1 else None


def execution(number):
    return Execution(host="here", pid=number, started=number, duration=0.5)


def fail(executor, number):
    executor.calls[number].future.execution = execution(number)
    executor.fail(number, OSError())


def test_it_ends_so_long_after_it_started():
    assert execution(3).ended == 3.5
    assert Execution(host="here", started=3).ended is None
    assert Execution(host="here", duration=3).ended is None


def test_a_timer_knows_nothing_before_the_call_begins():
    timer = ExecutionTimer()
    assert timer.execution is None
    timer.start()
    assert timer.execution.duration is None
    timer.stop()
    assert timer.execution.ended == timer.execution.started + timer.execution.duration


def test_an_executor_that_can_not_tell_leaves_it_unknown(threads):
    scheduler, seen = Scheduler(threads), []
    scheduler.on_start(lambda: scheduler.submit(max, 1, 2))
    scheduler.on_future_result(lambda future, _: seen.append(future.execution))
    scheduler.run()
    assert seen == [None]
    assert not isinstance(Future(), ReportsExecution)


def test_of_a_call_that_is_run_again_it_is_that_of_the_last_attempt():
    executor, plugin = ManualExecutor(), Again(0)
    scheduler, seen = Scheduler(executor), []
    task = scheduler.task(max, plugins=plugin)
    task.on_exception(lambda future, _: seen.append(future.execution))
    futures = []

    @scheduler.on_start
    def begin():
        futures.append(task(1))
        fail(executor, 0)
        go_on()

    def go_on():
        if len(executor.calls) == 2:
            fail(executor, 1)
        else:
            scheduler.call_later(0.01, go_on)

    scheduler.run(on_exception="ignore")
    assert plugin.seen == [execution(0), execution(1)]
    assert seen == [execution(1)]


def test_while_a_call_waits_for_its_next_attempt_it_is_that_of_the_last_one():
    executor, plugin = ManualExecutor(), Again(600)
    scheduler, seen = Scheduler(executor), []
    task = scheduler.task(max, plugins=plugin)
    task.on_cancelled(lambda future: seen.append(future.execution))

    @scheduler.on_start
    def begin():
        future = task(1)
        fail(executor, 0)
        scheduler.call_later(0.01, end, future)

    def end(future):
        if plugin.seen:
            seen.append(future.execution)
            future.cancel()
        else:
            scheduler.call_later(0.01, end, future)

    scheduler.run(on_exception="ignore")
    assert seen == [execution(0), execution(0)]
