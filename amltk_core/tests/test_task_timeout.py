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

    def submit_with_timeout(self, timeout, fn, /, *args, **kwargs):
        self.timeouts.append(timeout)
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


@pytest.mark.parametrize(("value", "error"), [(0, ValueError), (-1, ValueError), ("2", TypeError), (True, TypeError)])
def test_bad_timeouts_are_refused(value, error):
    with Timed() as executor, pytest.raises(error, match="timeout must be a number of seconds, more than 0"):
        Scheduler(executor).task(max, plugins=Limit(value))
