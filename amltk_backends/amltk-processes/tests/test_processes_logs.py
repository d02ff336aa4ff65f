"""What workers log is handled by the main process's loggers, and harms nobody there."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import threading
import warnings
from collections.abc import Iterator
from typing import Any

import pytest
from calls_for_processes import add, log, pid

from amltk.exceptions import WorkerDied
from amltk_processes import ProcessPoolExecutor, _logs
from amltk_processes._frames import FrameWriter
from amltk_processes._pickling import dumps


class Keep(logging.Handler):
    """Keeps records; `hook` may do more with each."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[Any] = []
        self.hook: Any = lambda _: None

    def handle(self, record: logging.LogRecord) -> bool:
        self.records.append(record)
        self.hook(record)  # without the lock that a handler holds
        return True

    @property
    def messages(self) -> list[str]:
        return [record.getMessage() for record in self.records]


@pytest.fixture
def kept() -> Iterator[Keep]:
    keep = Keep()
    names = ("lib", "py.warnings", "amltk_processes")
    for name in names:
        logging.getLogger(name).addHandler(keep)
    logging.getLogger("lib").setLevel(logging.INFO)
    yield keep
    logging.getLogger("lib").setLevel(logging.NOTSET)
    for name in names:
        logging.getLogger(name).removeHandler(keep)


def run(function: Any, *args: Any, **options: Any) -> Any:
    with ProcessPoolExecutor(1, **options) as executor:
        return executor.submit(function, *args).result()


def test_a_record_arrives_with_all_that_belongs_to_it(kept: Keep) -> None:
    def train(lock: bool) -> int:
        import threading

        try:
            _ = 1 / 0
        except ZeroDivisionError:
            extra = {"fold": 3, "odd": threading.Lock() if lock else (1, 2)}
            logging.getLogger("lib.part").warning("%s of %d", "one", 2, exc_info=True, stack_info=True, extra=extra)
        return os.getpid()

    with ProcessPoolExecutor(1) as executor:
        process = executor.submit(train, False).result()
        executor.submit(train, True).result()
    record, other = kept.records
    assert (record.name, record.levelname, record.getMessage()) == ("lib.part", "WARNING", "one of 2")
    assert (record.process, record.processName) == (process, f"worker-{process}")
    assert record.call.endswith("train")
    assert (record.fold, record.odd) == (3, (1, 2))
    assert other.odd.startswith("<unlocked _thread.lock")
    assert record.funcName == "train"
    text = logging.Formatter("%(message)s").format(record)
    assert text.startswith("one of 2\nTraceback")
    assert "ZeroDivisionError" in text
    assert "Stack (most recent call last)" in text


def test_warnings_arrive_as_records(kept: Keep) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        run(lambda: warnings.warn("take care", stacklevel=1))
    assert [(record.name, record.levelname) for record in kept.records] == [("py.warnings", "WARNING")]
    assert "UserWarning: take care" in kept.messages[0]


@pytest.mark.parametrize("number", [0, signal.SIGKILL, signal.SIGSEGV])
def test_last_words_arrive(kept: Keep, number: int) -> None:
    def die() -> None:
        for word in range(100):
            logging.getLogger("lib").error("word %d", word)
        if number:
            os.kill(os.getpid(), number)
        os._exit(1)

    with pytest.raises(WorkerDied):
        run(die)
    assert kept.messages == [f"word {word}" for word in range(100)]


def test_records_are_handled_when_shutdown_is_over_and_in_order(kept: Keep) -> None:
    with ProcessPoolExecutor(1) as executor:
        for number in range(300):
            executor.submit(log, "%d", number)
    assert kept.messages == [str(number) for number in range(300)]


def test_switched_off_everything_stays_in_the_worker(kept: Keep, capfd: pytest.CaptureFixture[str]) -> None:
    def talk() -> None:
        logging.getLogger("lib").warning("logged")
        warnings.warn("warned", stacklevel=1)

    with warnings.catch_warnings():
        warnings.simplefilter("default")
        run(talk, forward_logs=False)
    assert kept.records == []
    err = capfd.readouterr().err
    assert "logged" in err
    assert "warned" in err


def test_where_the_main_process_configures_nothing_warnings_are_on_its_stderr() -> None:
    code = """
import logging, warnings
from amltk_processes import ProcessPoolExecutor
def talk():
    logging.info("detail"); logging.warning("trouble"); warnings.warn("care")
with ProcessPoolExecutor(1) as executor:
    executor.submit(talk).result()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "trouble" in done.stderr
    assert "UserWarning: care" in done.stderr
    assert "detail" not in done.stderr


def test_what_nobody_wants_is_not_even_made(kept: Keep) -> None:
    def enabled() -> list[bool]:
        levels = (logging.DEBUG, logging.INFO, logging.WARNING)
        return [logging.getLogger(name).isEnabledFor(level) for name in ("lib.part", "other") for level in levels]

    before = logging.root.level
    try:
        logging.root.setLevel(logging.WARNING)
        assert run(enabled) == [False, True, True, False, False, True]
        logging.root.setLevel(logging.INFO)
        logging.disable(logging.INFO)
        assert run(enabled) == [False, False, True, False, False, True]
    finally:
        logging.disable(logging.NOTSET)
        logging.root.setLevel(before)


def test_the_loggers_of_the_main_process_have_the_last_word(kept: Keep) -> None:
    with ProcessPoolExecutor(1) as executor:
        executor.submit(pid).result()  # the worker is there, and knows the levels of now
        logging.getLogger("lib.part").setLevel(logging.ERROR)
        try:
            executor.submit(log, "no").result()
            executor.submit(log, "yes", level=logging.ERROR).result()
            executor.shutdown()
        finally:
            logging.getLogger("lib.part").setLevel(logging.NOTSET)
    assert kept.messages == ["yes"]


def test_a_function_may_configure_logging_in_its_worker(kept: Keep) -> None:
    def configure() -> str:
        import io

        stream = io.StringIO()
        logging.basicConfig(stream=stream, format="mine: %(message)s", level=logging.INFO)
        logging.getLogger("lib").info("here")
        return stream.getvalue()

    assert run(configure) == "mine: here\n"
    assert kept.records == []


def test_what_configures_nothing_does_not_keep_records_from_us(kept: Keep) -> None:
    def talk() -> None:
        logging.error("by the root logger")  # noqa: LOG015 - would configure it, were there no handler
        logging.getLogger("lib").addHandler(logging.NullHandler())
        logging.getLogger("lib").error("by a library")

    run(talk)
    assert kept.messages == ["by a library"]


def test_a_flood_is_bounded_and_counted(kept: Keep) -> None:
    def flood() -> None:
        for number in range(5000):
            logging.getLogger("lib").error("%d", number)

    run(flood)
    counts = [int(text.split()[0]) for text in kept.messages if "dropped" in text]
    assert counts
    assert len(kept.messages) - len(counts) + sum(counts) == 5000
    assert kept.records[-1].name == "amltk_processes"


def test_large_records_are_cut(kept: Keep) -> None:
    def shout() -> None:
        logging.getLogger("lib").error("x" * 10_000_000)
        logging.getLogger("lib").error("small", extra={"large": bytes(10_000_000)})

    run(shout)
    assert len(kept.messages[0]) < 40_000
    assert kept.messages[0].endswith(" more characters)")
    assert kept.messages[1] == "small"
    assert not hasattr(kept.records[1], "large")


def test_a_record_that_cannot_be_formatted_fails_nothing(kept: Keep, capfd: pytest.CaptureFixture[str]) -> None:
    run(log, "%d", "no number")
    assert kept.records == []
    assert "Logging error" in capfd.readouterr().err


def test_a_handler_that_raises_harms_nobody(kept: Keep, capfd: pytest.CaptureFixture[str]) -> None:
    def fail(_: object) -> None:
        raise SystemExit

    kept.hook = fail
    with ProcessPoolExecutor(2) as executor:
        assert len([executor.submit(log, "%d", number).result() for number in range(20)]) == 20
    assert len(kept.records) == 20
    assert "Logging error" in capfd.readouterr().err


def test_a_handler_that_blocks_holds_up_no_result(kept: Keep, monkeypatch: pytest.MonkeyPatch, until) -> None:
    monkeypatch.setattr(_logs, "MOST_WAITING", 50)
    released = threading.Event()
    kept.hook = lambda _: released.wait(30)
    with ProcessPoolExecutor(2) as executor:
        executor.submit(log, "0").result()
        until(lambda: kept.records)
        for number in range(1, 200):
            executor.submit(log, "%d", number).result()
        assert len(kept.records) == 1
        released.set()
    assert 50 <= len(kept.records) <= 60
    assert kept.messages[-1] == "149 log records of workers were dropped: handlers are too slow for them."


def test_what_was_dropped_is_told_also_when_the_end_comes_before_the_handlers(
    kept: Keep, monkeypatch: pytest.MonkeyPatch, until
) -> None:
    monkeypatch.setattr(_logs, "MOST_WAITING", 2)
    released = threading.Event()
    kept.hook = lambda _: released.wait(30)
    receiver = _logs.LogReceiver()
    data = dumps({"name": "lib", "levelno": logging.INFO, "msg": "mine", "process": 1, "processName": "one"})
    receiver.put(data, "call")
    until(lambda: kept.records)
    for _ in range(5):
        receiver.put(data, "call")
    receiver.close()
    released.set()
    receiver.join()
    told = "3 log records of workers were dropped: handlers are too slow for them."
    assert kept.messages == ["mine", "mine", "mine", told]


def test_shutdown_does_not_wait_for_ever_for_a_handler(kept: Keep, monkeypatch: pytest.MonkeyPatch, until) -> None:
    monkeypatch.setattr(_logs, "PATIENCE", 0.1)
    released = threading.Event()
    kept.hook = lambda _: released.wait(30)
    with ProcessPoolExecutor(1) as executor:
        executor.submit(log, "x")
    released.set()
    until(lambda: not any(thread.name == "amltk-processes-logs" for thread in threading.enumerate()))


def test_a_handler_may_use_the_executor_and_shut_it_down(kept: Keep, until) -> None:
    results: list[int] = []

    def use(record: logging.LogRecord) -> None:
        results.append(executor.submit(add, 1).result())
        executor.shutdown()
        results.append(0)

    kept.hook = use
    executor = ProcessPoolExecutor(1)
    executor.submit(log, "x")
    until(lambda: len(results) == 2)
    executor.shutdown()
    assert results == [2, 0]


def test_threads_of_a_call_log_while_results_are_sent(kept: Keep) -> None:
    def start_talking() -> None:
        import time

        def talk() -> None:
            for number in range(100):
                logging.getLogger("lib").error("x" * (number * 50))
                time.sleep(0.0005)

        for _ in range(4):
            threading.Thread(target=talk).start()

    with ProcessPoolExecutor(1) as executor:
        executor.submit(start_talking).result()
        futures = [executor.submit(bytes, size * 1000) for size in range(300)]
        assert [len(future.result()) for future in futures] == [size * 1000 for size in range(300)]


def test_a_fork_of_a_worker_logs_for_itself(kept: Keep, capfd: pytest.CaptureFixture[str]) -> None:
    def fork() -> None:
        child = os.fork()
        if child == 0:
            logging.getLogger("lib").error("from the child")
            os._exit(0)
        os.waitpid(child, 0)

    run(fork)
    assert kept.records == []
    assert "from the child" in capfd.readouterr().err


def test_a_frame_that_comes_up_in_the_middle_of_another_waits_for_its_end() -> None:
    class Connection:
        def __init__(self) -> None:
            self.sent: list[bytes] = []

        def sendall(self, piece: bytes, _: int) -> None:
            if piece == b"first":
                writer.send([b"signal handler's"])
            self.sent.append(piece)

    connection = Connection()
    writer = FrameWriter(connection)
    writer.send([b"first", b"second"])
    assert connection.sent == [b"first", b"second", b"signal handler's"]
