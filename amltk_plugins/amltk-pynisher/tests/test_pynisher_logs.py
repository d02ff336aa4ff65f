"""What a limited call logs and warns of arrives as without a limit."""

from __future__ import annotations

import logging
import multiprocessing
import os
import re
import signal
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pynisher
import pytest
from pynisher_calls import FOREVER, here, in_thread, limited, warn

from amltk import PynisherPlugin, Scheduler
from amltk.exceptions import WorkerDied

somewhere = pytest.mark.parametrize("call", [here, in_thread])


class Keep(logging.Handler):
    """Keeps records."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[Any] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)

    @property
    def messages(self) -> list[str]:
        return [record.getMessage() for record in self.records]


@pytest.fixture
def kept() -> Iterator[Keep]:
    keep = Keep()
    logger = logging.getLogger("lib")
    logger.addHandler(keep)
    logger.setLevel(logging.INFO)
    yield keep
    logger.setLevel(logging.NOTSET)
    logger.removeHandler(keep)


def talk(n):
    log = logging.getLogger("lib.part")
    log.debug("nobody wants this")
    for number in range(n):
        log.info("word %d", number)
    warnings.warn("take care", UserWarning, stacklevel=1)
    return n


def test_records_and_warnings_arrive_before_the_result(scheduler, kept):
    task = scheduler.task(talk, plugins=PynisherPlugin(walltime_limit=60))
    task.on_result(lambda _, result: kept.records.append(logging.makeLogRecord({"msg": f"result {result}"})))
    scheduler.on_start(lambda: task(3))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        scheduler.run()
    messages = kept.messages
    words = ["word 0", "word 1", "word 2"]
    assert [message for message in messages if message in words] == words
    if "processes" not in scheduler.executor_label:  # a thread handles records there
        assert messages == [*words, "result 3"]
        [warning] = [each for each in caught if "take care" in str(each.message)]
        assert warning.category is UserWarning
        assert warning.filename == __file__


def test_a_workers_warnings_are_records_of_the_program(kept):
    logger = logging.getLogger("py.warnings")
    logger.addHandler(kept)
    try:
        scheduler = Scheduler.with_processes(1)
        task = scheduler.task(talk, plugins=PynisherPlugin(walltime_limit=60))
        scheduler.on_start(lambda: task(1))
        with warnings.catch_warnings():
            warnings.simplefilter("default")  # workers have the program's filters
            scheduler.run()
    finally:
        logger.removeHandler(kept)
    assert kept.messages[0] == "word 0"
    assert "UserWarning: take care" in kept.messages[1]
    assert kept.records[0].call.endswith("talk")


@somewhere
def test_last_words_of_a_call_that_exceeds_its_limit_arrive(call, kept):
    def die():
        for number in range(200):
            logging.getLogger("lib").error("word %d", number)
        time.sleep(FOREVER)

    with pytest.raises(pynisher.WallTimeoutException):
        call(limited(die, wall=2))
    assert kept.messages == [f"word {number}" for number in range(200)]


@somewhere
def test_last_words_of_a_crash_arrive(call, kept):
    def die():
        logging.getLogger("lib").error("word")
        os.kill(os.getpid(), signal.SIGKILL)

    with pytest.raises(WorkerDied):
        call(limited(die, wall=30))
    assert kept.messages == ["word"]


def test_a_flood_does_not_hold_up_the_limit(kept):
    def flood():
        while True:
            logging.getLogger("lib").info("x" * 1000)

    with pytest.raises(pynisher.WallTimeoutException):
        limited(flood, wall=0.3)()
    assert kept.records


@somewhere
def test_a_record_arrives_with_what_belongs_to_it(call, kept):
    def fail():
        import threading

        try:
            _ = 1 / 0
        except ZeroDivisionError:
            logging.getLogger("lib").exception("%s of %d", "one", 2, extra={"fold": 3, "odd": threading.Lock()})
        return os.getpid()

    process = call(limited(fail, wall=30))
    [record] = kept.records
    assert (record.getMessage(), record.levelname, record.funcName) == ("one of 2", "ERROR", "fail")
    assert (record.process, record.fold) == (process, 3)
    assert record.odd.startswith("<unlocked _thread.lock")
    assert "ZeroDivisionError" in logging.Formatter().format(record)


def test_records_of_threads_and_signal_handlers_are_whole(kept):
    def work():
        log = logging.getLogger("lib")
        alarms = iter(range(20))

        def alarm(*_):
            log.info("alarm %s", "a" * 100_000)
            for _ in alarms:
                signal.setitimer(signal.ITIMER_REAL, 0.001)
                return

        signal.signal(signal.SIGALRM, alarm)
        alarm()

        def many(name):
            for number in range(30):
                log.info("%s %d %s", name, number, name * 100_000)

        threads = [threading.Thread(target=many, args=(name,)) for name in "xy"]
        for thread in threads:
            thread.start()
        many("z")
        for thread in threads:
            thread.join()
        return "done"

    assert limited(work, wall=60)() == "done"
    messages = kept.messages
    for name in "xyz":
        assert [message for message in messages if message[0] == name] == [
            f"{name} {number} {name * 100_000}" for number in range(30)
        ]
    assert all(message == "alarm " + "a" * 100_000 for message in messages if message[0] == "a")


def test_what_a_call_forks_does_not_write_into_its_pipe(kept, capfd):
    def work():
        def child():
            for _ in range(50):
                logging.getLogger("lib").error("y" * 100_000)

        process = multiprocessing.get_context("fork").Process(target=child)
        process.start()
        for _ in range(50):
            logging.getLogger("lib").error("x" * 100_000)
        process.join()
        return process.exitcode

    assert limited(work, wall=60)() == 0
    assert kept.messages == ["x" * 100_000] * 50
    assert "y" in capfd.readouterr().err


@somewhere
def test_filters_and_levels_of_the_program_hold_in_a_call(call, kept):
    def work():
        logging.getLogger("lib.quiet").warning("no")
        logging.getLogger("lib").log(25, "custom")
        warnings.warn("an error here", DeprecationWarning, stacklevel=1)

    logging.getLogger("lib.quiet").setLevel(logging.ERROR)
    logging.addLevelName(25, "NOTICE")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", DeprecationWarning)
            with pytest.raises(DeprecationWarning, match="an error here"):
                call(limited(work, wall=30))
            warnings.simplefilter("ignore", DeprecationWarning)
            assert call(limited(work, wall=30)) is None
    finally:
        logging.getLogger("lib.quiet").setLevel(logging.NOTSET)
    assert [(record.getMessage(), record.levelname) for record in kept.records] == [("custom", "NOTICE")] * 2


@somewhere
def test_a_call_may_have_filters_of_its_own(call):
    def work():
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            warnings.warn("mine", DeprecationWarning, stacklevel=1)

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("ignore")
        call(limited(work, wall=30))
    assert [str(warning.message) for warning in caught] == ["mine"]


class OddWarning(UserWarning):
    def __init__(self, text, lock):
        super().__init__(text, lock)


def test_a_warning_that_cannot_be_pickled_arrives_by_its_text():
    def work():
        warnings.warn(OddWarning("odd", threading.Lock()), stacklevel=1)

    with pytest.warns(UserWarning, match="OddWarning: .*odd"):
        limited(work, wall=30)()


SCRIPT = """
import logging, sys, warnings
from amltk import PynisherPlugin, Scheduler

{configure}

def work(n):
    logging.getLogger("mine").warning("trouble %d", n)
    logging.getLogger("mine").info("detail %d", n)
    warnings.warn("care")
    {inside}

scheduler = Scheduler.with_backend(sys.argv[1], **({{}} if sys.argv[1] == "sequential" else {{"max_workers": 1}}))
plugins = [PynisherPlugin(walltime_limit=60)] if sys.argv[2] == "limited" else []
task = scheduler.task(work, plugins=plugins)

@scheduler.on_start
def begin():
    for n in range(3):
        task(n)

scheduler.run()
"""


@pytest.mark.parametrize("backend", ["sequential", "threads", "processes"])
@pytest.mark.parametrize(
    ("configure", "inside"),
    [
        ("", ""),
        ("logging.basicConfig(level='INFO', format='mine %(levelname)s %(name)s %(message)s')", ""),
        ("", "logging.basicConfig(level='INFO', format='inside %(message)s'); logging.info('more %d', n)"),
        ("warnings.simplefilter('ignore'); logging.disable(logging.INFO)", ""),
        ("logging.captureWarnings(True); logging.getLogger('mine').propagate = False", ""),
    ],
    ids=["nothing", "configured", "configured-inside", "ignored", "captured"],
)
def test_stderr_is_that_of_unlimited_calls(backend, configure, inside, tmp_path: Path):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT.format(configure=configure, inside=inside))

    def lines(kind):
        command = [sys.executable, script, backend, kind]
        done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=True)
        # A function by value has no source, in a fresh interpreter or a worker.
        text = re.sub(r"\S+:10: UserWarning", "UserWarning", done.stderr).replace('  warnings.warn("care")\n', "")
        return text.split("\n")

    limited, unlimited = lines("limited"), lines("unlimited")
    if inside:
        # Each call configures its own process only.
        assert {f"{word} {n}" for word in ("trouble", "inside more") for n in range(3)} <= set(limited)
    elif backend == "processes":
        # A limited function by value has globals of its own with each call, and so warns each time.
        assert sorted(set(limited)) == sorted(set(unlimited))
    else:
        assert limited == unlimited


@somewhere
def test_a_warning_is_shown_once_where_it_would_be_without_a_limit(call):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        for _ in range(3):
            call(limited(warn, wall=30), "once")
            call(limited(warn, wall=30), "another")
    assert [str(warning.message) for warning in caught] == ["once", "another"]
    assert {warning.filename for warning in caught} == {warn.__code__.co_filename}
