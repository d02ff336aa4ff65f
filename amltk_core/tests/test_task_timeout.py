"""`task.timeout`: how a wall-time limit reaches the executor, and where it can't."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from amltk import Scheduler, TaskPlugin
from amltk.exceptions import NotSupportedError


class Timed(ThreadPoolExecutor):
    """Notes what it is asked, and enforces nothing."""

    def __init__(self):
        super().__init__(1)
        self.timeouts = []

    accepts_options = ("timeout",)

    def submit_call(self, fn, args, kwargs, options):
        self.timeouts.append(options.timeout)
        return super().submit(fn, *args, **kwargs)


class Fast(ThreadPoolExecutor):
    """Takes options, but no timeouts."""

    accepts_options = ("priority",)

    def submit_call(self, fn, args, kwargs, options):
        options.check_accepted(self.accepts_options, "Fast")
        return super().submit(fn, *args, **kwargs)


class Limit(TaskPlugin):
    def __init__(self, seconds):
        self.seconds = seconds

    def attach_task(self, task):
        task.timeout = self.seconds


def test_calls_of_a_task_with_a_timeout_are_submitted_with_it():
    with Timed() as executor:
        scheduler = Scheduler(executor)
        limited, free = scheduler.task(max, plugins=Limit(2.5)), scheduler.task(min)
        scheduler.on_start(lambda: (limited(1, 2), free(1, 2)))
        scheduler.run()
    assert executor.timeouts == [2.5]
    assert (limited.timeout, free.timeout) == (2.5, None)


def test_an_executor_that_can_not_is_refused_when_the_task_is_made(threads):
    plugin = Limit(2)
    with pytest.raises(NotSupportedError, match=r"ThreadPoolExecutor cannot end .* timeout=2 of <Task 'max'> asks"):
        Scheduler(threads).task(max, plugins=plugin)
    assert plugin.task is None


def test_an_executor_is_asked_which_options_it_accepts():
    with Fast(1) as executor, pytest.raises(NotSupportedError, match=r"Fast cannot end .* Scheduler.with_processes"):
        Scheduler(executor).task(max, plugins=Limit(2))


def test_a_retried_call_keeps_its_options():
    class Again(TaskPlugin):
        def retry_after(self, future, error):
            return 0 if isinstance(error, KeyError) else None

    tried = []

    def fail(limit):
        tried.append(limit)
        raise KeyError if len(tried) == 1 else ValueError

    with Timed() as executor:
        scheduler = Scheduler(executor)
        task = scheduler.task(fail, plugins=[Limit(2.5), Again()])
        scheduler.on_start(lambda: task(1))
        scheduler.run(on_exception="ignore")
    assert executor.timeouts == [2.5, 2.5]


@pytest.mark.parametrize(("value", "error"), [(0, ValueError), (-1, ValueError), ("2", TypeError), (True, TypeError)])
def test_bad_timeouts_are_refused(value, error):
    with Timed() as executor, pytest.raises(error, match="timeout must be a number of seconds, more than 0"):
        Scheduler(executor).task(max, plugins=Limit(value))
