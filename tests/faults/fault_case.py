"""What a test of a fault holds: a scheduler that is watched, and what must be true after every fault.

1  each accepted call ended once, as result, exception or cancelled, after it was submitted
2  on_finished was the last event, and run() came back within the time for cleaning up and 5 s
3  no process, thread, descriptor or temporary file is left                        (see conftest.py)
4  the library itself kept the loop from its other work for 0.25 s at most
5  a healthy call works afterwards
6  an error tells which call it was, with which arguments, and where it ran
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import gc
import platform
import re
import subprocess
import sys
import textwrap
import time
import traceback
from collections import defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from pathlib import Path
from typing import Any

import fault_calls as calls
import psutil
from fault_places import Place, own_executor

from amltk import Scheduler
from amltk.scheduling import ExitState, Task

GRACE = 2.0
"""Seconds that workers have to clean up when a run ends at once."""
PATIENCE = 5.0
"""Seconds beyond that, in which run() has to be back."""
LONGEST_BLOCK = 0.25
"""Seconds."""

ENDS = ("on_future_result", "on_future_exception", "on_future_cancelled")


class Case:
    """One fault in one place.

    Attributes:
        place: Where calls run.
        folder: For what calls write down.
        gate: The file that `calls.wait_for` waits for.
        began: The file that it makes.
        loop: Watches how long the loop is blocked.
        longest_block: Seconds for which the loop may be held up.
        reached_no_worker: Set where a call fails before there is a worker to be named.
    """

    def __init__(self, place: Place, folder: Path) -> None:
        self.place = place
        self.folder = folder
        self.gate = folder / "gate"
        self.began = folder / "began"
        self.longest_block = LONGEST_BLOCK
        self.reached_no_worker = False
        self._scheduler: Scheduler | None = None
        self._executor: Executor | None = None
        self._log: list[tuple[float, str, tuple[Any, ...]]] = []
        self.loop = LoopWatch()
        self._asked = 0.0

    # For the test

    @property
    def scheduler(self) -> Scheduler:
        """The scheduler; made when it is first asked for."""
        return self._scheduler or self.open()

    def open(self, executor: Executor | None = None, **options: Any) -> Scheduler:
        """Make the scheduler anew, with these options on top, or for this executor."""
        if executor is None and self.place.own:
            executor = self._executor = own_executor()
        if executor is not None:
            scheduler = Scheduler(executor)
        else:
            scheduler = Scheduler.with_backend(self.place.name, **self.place.options, **options)
        self._scheduler = scheduler
        for event in scheduler.events:
            scheduler.on(event, functools.partial(self._note, event.name))
        scheduler.on_start(self.loop.start)
        scheduler.on_finished(self.loop.measure)
        return scheduler

    def task(self, function: Callable[..., Any], **options: Any) -> Task[..., Any]:
        return self.scheduler.task(function, **options)

    def at_start(self, function: Callable[[], object]) -> Callable[[], object]:
        """Have `function` called when the next run starts, and in no later one."""
        self.scheduler.on_start(function, limit=1)
        return function

    def when_there(self, path: Path, function: Callable[[], object]) -> None:
        """Have `function` called in the loop as soon as there is a file."""
        if path.exists():
            function()
        else:
            self.scheduler.call_later(0.005, self.when_there, path, function)

    def run(self, **options: Any) -> ExitState:
        """Run, with `on_exception="ignore"` unless told otherwise."""
        with self._watched(options.get("wait", True)):
            return self.scheduler.run(**{"on_exception": "ignore", **options})

    async def async_run(self, **options: Any) -> ExitState:
        with self._watched(options.get("wait", True)):
            return await self.scheduler.async_run(**{"on_exception": "ignore", **options})

    def open_gate(self, word: str = "return") -> None:
        """Let the calls that wait for the gate return, or "fail"."""
        part = self.folder / "part-of-gate"
        part.write_text(word, encoding="utf-8")
        part.rename(self.gate)

    def script(self, code: str) -> str:
        """Run a program of the user's, in which NAME and OPTIONS are those of the backend; return what it printed."""
        with self.program(code, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as program:
            printed, complaints = program.communicate()
        assert (program.returncode, complaints) == (0, "")
        return str(printed)

    def program(self, code: str, **options: Any) -> subprocess.Popen[Any]:
        """Start a program of the user's."""
        path = self.folder / "script.py"
        code = textwrap.dedent(code).replace("NAME", repr(self.place.name)).replace("OPTIONS", repr(self.place.options))
        path.write_text(code, encoding="utf-8")
        return subprocess.Popen([sys.executable, path], **options)

    def asks_to_end(self) -> None:
        """Note that the run is asked to end now, in a way that no event tells."""
        self._asked = time.monotonic()

    def ended(self, task: Task[..., Any]) -> list[tuple[str, Any]]:
        """Return of the calls of a task how they ended, in the order of their ends."""
        found = ((event, args) for _, event, args in self._log if event in ENDS and args[0].task is task)
        return [(event.removeprefix("on_future_"), args[1] if len(args) > 1 else None) for event, args in found]

    def results(self, task: Task[..., Any]) -> list[Any]:
        """Return the results of a task, all of whose calls must have one, in the order of their ends."""
        ended = self.ended(task)
        assert {how for how, _ in ended} <= {"result"}, ended
        return [result for _, result in ended]

    def error(self, task: Task[..., Any]) -> BaseException:
        """Return the exception of a task, whose only call must have one."""
        ((how, error),) = self.ended(task)
        assert how == "exception", (how, error)
        return error

    def error_among_others(self, function: Callable[..., Any], *args: Any) -> BaseException:
        """Have a call fail between two others, which have to finish; return its exception."""
        task = self.task(function)
        others = self.task(calls.double)

        @self.at_start
        def begin() -> None:
            others(1)
            task(*args)
            others(2)

        self.run()
        assert sorted(self.results(others)) == [2, 4]
        return self.error(task)

    def pid(self) -> int:
        """Return the process that a call noted."""
        return int((self.folder / "pid").read_text(encoding="utf-8"))

    # The invariants

    def check(self) -> None:
        """Check what is not checked in each run, and let go of everything."""
        try:
            self._check_errors()
            blocked = f"the loop was blocked for {self.loop.worst:.3f} s"
            assert self.loop.worst < self.longest_block or "blocks_the_run" in self.place.has, blocked
            self._check_healthy()
        finally:
            self._log.clear()
            if self._executor is not None:
                self._executor.shutdown()

    def _note(self, event: str, *args: Any) -> None:
        self._log.append((time.monotonic(), event, args))

    @contextlib.contextmanager
    def _watched(self, wait: bool) -> Iterator[None]:
        before = len(self._log)
        self._asked = 0.0
        try:
            yield
        finally:
            back = time.monotonic()
            self.loop.stop()
            log = self._log[before:]
            _check_calls(log)
            if log:
                assert log[-1][1] == "on_finished", [event for _, event, _ in log[-5:]]
                assert [event for _, event, _ in log].count("on_finished") == 1
                asked = self._asked or _asked(log, wait)
                assert back - asked < GRACE + PATIENCE, f"run() came back after {back - asked:.1f} s"
            assert not self.scheduler.running()
            assert not self.scheduler.queue

    def _check_healthy(self) -> None:
        task = self.task(calls.healthy)
        self.at_start(lambda: task(41))
        self.run(on_exception="raise")
        assert self.results(task) == [42]

    def _check_errors(self) -> None:
        crosses = "needs_pickling" in self.place.has and not self.place.own
        for _, event, args in self._log:
            if event == "on_future_exception":
                future, error = args
                text = told(error)
                assert f"{future.name}(" in text, text
                short = [repr(each) for each in future.args if len(repr(each)) < 20]
                assert all(each in text for each in short), text
                where = re.search(rf"process \d+ on {re.escape(platform.node())}", text)
                assert where or self.reached_no_worker or not crosses, text


async def comes_true(condition: Callable[[], object]) -> None:
    """Wait in a loop until a condition holds."""
    while not condition():  # noqa: ASYNC110 - some conditions are files, which set no event
        await asyncio.sleep(0.002)


def told(error: BaseException) -> str:
    """Return all that is printed of an error."""
    return "".join(traceback.format_exception(error))


def _check_calls(log: list[tuple[float, str, tuple[Any, ...]]]) -> None:
    events: defaultdict[Any, list[str]] = defaultdict(list)
    for _, event, args in log:
        if event.startswith("on_future_"):
            events[args[0]].append(event)
    for future, names in events.items():
        once = sum(name in ENDS for name in names) == 1 and names.count("on_future_submitted") == 1
        assert once, f"{future!r} had the events {names}"
        assert names[0] == "on_future_submitted"
        assert future.done()


def _asked(log: list[tuple[float, str, tuple[Any, ...]]], wait: bool) -> float:
    """Return since when nothing but the library held up the end of a run."""
    told_to_end = [when for when, event, _ in log if event in {"on_stop", "on_timeout"}]
    if told_to_end and not wait:
        return told_to_end[0]
    return max(when for when, event, _ in log if event not in {"on_finishing", "on_finished"})


class LoopWatch:
    """Measures how long a loop was kept from a timer, as far as neither the machine nor the interpreter did that.

    Attributes:
        worst: The longest time, in seconds.
    """

    INTERVAL = 0.01

    def __init__(self) -> None:
        self.worst = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._due = 0.0
        self._waited: dict[int, float] = {}
        self._collected = 0.0
        self._collecting_since = 0.0

    def start(self) -> None:
        """Begin, in the loop that is running."""
        gc.callbacks.append(self._on_collection)
        self._wait(asyncio.get_running_loop())

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
            gc.callbacks.remove(self._on_collection)

    def forgive(self) -> None:
        """Begin anew: that the loop was blocked until now is the test's own doing."""
        self._due = asyncio.get_running_loop().time() + self.INTERVAL

    def _wait(self, loop: asyncio.AbstractEventLoop) -> None:
        self._collected = 0.0
        self._waited = _waited_for_processor()
        self._due = loop.time() + self.INTERVAL
        self._timer = loop.call_later(self.INTERVAL, self._look, loop)

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        self.measure()
        self._wait(loop)

    def measure(self) -> None:
        """Take note of how late it is now."""
        late = asyncio.get_running_loop().time() - self._due
        # Of all threads: one that has the interpreter's lock and no processor holds up the loop just as well.
        waited = sum(seconds - self._waited.get(thread, 0.0) for thread, seconds in _waited_for_processor().items())
        self.worst = max(self.worst, late - waited - self._collected)

    def _on_collection(self, phase: str, _: object) -> None:
        if phase == "start":
            self._collecting_since = time.monotonic()
        else:
            self._collected += time.monotonic() - self._collecting_since


def _waited_for_processor() -> dict[int, float]:
    """Return for how many seconds each of our threads was ready to run while others had the processors."""
    waited = {}
    for thread in Path("/proc/self/task").iterdir():
        with contextlib.suppress(OSError):  # it has just ended, or this kernel does not say
            waited[int(thread.name)] = int((thread / "schedstat").read_text(encoding="ascii").split()[1]) / 1e9
    return waited


def gone(pids: set[int], until: Callable[..., None]) -> None:
    """Wait until processes are gone, or dead and not buried yet by whom the system gave them to."""

    def lives(pid: int) -> bool:
        try:
            return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return False

    until(lambda: not any(lives(pid) for pid in pids), PATIENCE)
