"""A call crosses to another process and ends in its future, whatever it is, raises or returns."""

from __future__ import annotations

import contextlib
import os
import pickle
import platform
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import CancelledError, Future
from typing import Any

import pytest

from amltk.backend import Execution, ExecutionFuture
from amltk.exceptions import RemoteError
from amltk.remote import RemoteCall, dump_call, dump_exception, load_exception, read_outcome, run_call


def make(fn: Any, *args: Any, **kwargs: Any) -> RemoteCall:
    return RemoteCall(ExecutionFuture(), fn, args, kwargs, dump_call(fn, args, kwargs, pickle.dumps))


def carry(call: RemoteCall) -> Future[Any]:
    """Run a call as a worker would, and settle it."""
    assert call.begin()
    call.settle(run_call(call.data, pickle.dumps))
    return call.future


class Breaks:
    """Pickled it is nothing but a call of `function`, so that this runs where it is unpickled."""

    def __init__(self, function: Any, *args: Any) -> None:
        self.what = function, args

    def __reduce__(self) -> Any:
        return self.what


def leave(error: BaseException) -> None:
    raise error


def make_a_lock() -> list[Any]:
    return [threading.Lock()]


class Unspeakable(Exception):  # noqa: N818
    """Nothing can be said of it."""

    @property
    def __notes__(self) -> list[str]:
        raise MemoryError

    def __reduce__(self) -> Any:
        raise MemoryError


def test_a_result_arrives():
    assert carry(make(round, 3.14159, ndigits=2)).result(0) == 3.14


@pytest.mark.parametrize("error", [ValueError("mine"), SystemExit(3), KeyboardInterrupt("mine")])
def test_what_it_raises_arrives(error):
    arrived = carry(make(leave, error)).exception(0)
    assert (type(arrived), arrived.args) == (type(error), error.args)
    assert "in leave\n    raise error" in arrived.__notes__[0]


def test_what_cannot_be_pickled_is_named_where_it_is_submitted():
    with pytest.raises(pickle.PicklingError, match=r"args\[0\] \(of type lock\) in a call of len"):
        dump_call(len, (threading.Lock(),), {}, pickle.dumps)


@pytest.mark.parametrize("error", [LookupError("mine"), SystemExit("mine")])
def test_what_the_user_raises_while_it_is_unpickled_arrives(error):
    arrived = carry(make(len, Breaks(leave, error))).exception(0)
    assert (type(arrived), arrived.args) == (type(error), ("mine",))
    assert arrived.__notes__[0] == f"Raised while the call was unpickled in worker process {os.getpid()}."


def test_a_result_that_cannot_be_pickled_is_named():
    with pytest.raises(pickle.PicklingError, match=r"what make_a_lock returned, at result\[0\] \(of type lock\)"):
        carry(make(make_a_lock)).result(0)


@pytest.mark.parametrize("error", [LookupError("mine"), SystemExit("mine")])
def test_what_the_user_raises_while_the_result_is_unpickled_arrives(error):
    arrived = carry(make(Breaks, leave, error)).exception(0)
    assert (type(arrived), arrived.args) == (type(error), ("mine",))
    assert arrived.__notes__ == ["Raised while what Breaks returned was unpickled in the main process."]


def test_an_exception_whose_class_refuses_its_notes_and_its_reduction_arrives():
    assert type(load_exception(dump_exception(Unspeakable(), pickle.dumps))) is Unspeakable


def test_an_exception_of_which_nothing_can_be_said_arrives_as_its_name():
    def dumps(value: object) -> bytes:
        if getattr(value, "type_name", "").endswith("Unspeakable"):
            raise MemoryError
        return pickle.dumps(value)

    arrived = load_exception(dump_exception(Unspeakable(), dumps))
    assert type(arrived) is RuntimeError
    assert str(arrived).startswith("Unspeakable, which cannot be sent: ")


def test_an_exception_that_is_garbled_is_said_to_be():
    arrived = load_exception(b"garbled")
    assert isinstance(arrived, pickle.UnpicklingError)
    assert "while the exception of a call was unpickled" in arrived.__notes__[0]


class Local(Exception):  # noqa: N818
    pass


def test_the_class_of_an_exception_may_be_unknown_here(monkeypatch):
    packed = dump_exception(Local("mine"), pickle.dumps)
    monkeypatch.delattr(sys.modules[__name__], "Local")
    arrived = load_exception(packed)
    assert type(arrived) is RemoteError
    assert "mine" in str(arrived)


def test_what_it_prints_is_out_when_it_has_ended():
    code = """
import os, pickle
from amltk.remote import dump_call, run_call
run_call(dump_call(print, ("said",), {}, pickle.dumps), pickle.dumps)
os._exit(0)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "said\n"


def test_streams_that_the_user_has_closed_harm_nothing(monkeypatch):
    closed = open(os.devnull)  # noqa: PTH123, SIM115
    closed.close()
    monkeypatch.setattr(sys, "stdout", closed)
    monkeypatch.setattr(sys, "stderr", None)
    assert carry(make(int)).result(0) == 0


def test_nobody_wants_what_was_cancelled():
    call = make(len, "abc")
    assert call.future.cancel()
    assert not call.begin()
    assert not call.begin()
    call.settle(run_call(call.data, pickle.dumps))
    call.fail(ValueError())
    with pytest.raises(CancelledError):
        call.future.result(0)


def test_it_begins_once_and_says_the_same_again():
    call = make(len, "abc")
    assert call.begin()
    assert call.begin()
    assert call.future.running()


def test_who_settles_the_future_behind_our_back_is_told_of(caplog):
    call = make(pow, 2, 3)
    assert call.begin()
    call.future.set_result(9)
    call.succeed(8)
    assert call.future.result(0) == 9
    assert "The future of pow(2, 3) was already settled by other code" in caplog.text


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel of Linux does this")
def test_a_process_dies_with_who_holds_the_other_end_of_its_pipe():
    code = """
import os, sys
from amltk.remote.worker_exit import kill_on_pipe_close
os.setsid()
child = os.fork()
kill_on_pipe_close(0)
if child:
    os.write(1, b"ready")
while True:
    pass
"""
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout.read(5) == b"ready"
            assert process.poll() is None
            process.stdin.close()
            assert process.wait(20) == -signal.SIGKILL
            assert process.stdout.read() == b""  # the child, which has it too, is gone
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def test_the_future_tells_where_and_when_the_call_ran():
    call = make(time.sleep, 0.01)
    carry(call)
    execution = call.future.execution
    assert (execution.host, execution.pid, execution.worker) == (platform.node(), os.getpid(), "")
    assert 0.01 <= execution.duration < 10
    assert abs(execution.ended - time.time()) < 10
    assert execution.peak_memory > 1 << 20


def test_what_the_worker_measures_replaces_what_was_seen_from_here():
    call = make(len, "abc")
    call.started(host="there", pid=1, worker="tcp://there:1", at=5.0)
    assert call.future.execution == Execution(host="there", pid=1, worker="tcp://there:1", started=5.0)
    carry(call)
    assert (call.future.execution.pid, call.future.execution.worker) == (os.getpid(), "tcp://there:1")


def test_the_execution_of_a_call_whose_worker_dies_ends_when_that_is_noticed():
    call = make(len, "abc")
    call.started(host="there", ago=3.0)
    call.fail(OSError())
    assert 3 <= call.future.execution.duration < 30
    assert abs(call.future.execution.ended - time.time()) < 10


def test_the_execution_of_a_call_that_never_began_is_unknown():
    call = make(len, "abc")
    call.fail(OSError())
    assert call.future.execution is None


def test_what_a_call_raised_when_it_was_read_leaves_its_execution():
    call = make(Breaks, os.getpid)
    outcome = run_call(call.data, pickle.dumps)
    call.settle(outcome)
    assert call.future.execution == read_outcome(outcome).execution
