"""The errors that backends share."""

from __future__ import annotations

from concurrent.futures import BrokenExecutor
from concurrent.futures.process import BrokenProcessPool

import pytest

from amltk.backend import ExecutionFuture
from amltk.exceptions import BatchSystemError
from amltk.remote import RemoteCall, dump_call
from amltk.remote.worker_errors import WorkerExit, call_killed, executor_broken, worker_died


@pytest.fixture
def call() -> RemoteCall:
    return RemoteCall(ExecutionFuture(), abs, (-1,), {}, dump_call(abs, (-1,), {}))


def test_a_worker_that_died(call: RemoteCall) -> None:
    error = worker_died(call, "process 17 on node3", WorkerExit(17, -9, True, "Killed", "Job 4 says so."))
    assert str(error) == (
        "abs(-1) ended with its worker, process 17 on node3, which was killed by SIGKILL because memory ran out: have "
        "fewer workers or smaller calls, or ask for more memory. All other calls go on. The task plugin Retry of "
        "amltk-retry runs such a call again. Job 4 says so.\n"
        "The last that this process wrote to stderr:\n    Killed"
    )
    assert (error.pid, error.exit_code, error.out_of_memory, error.stderr) == (17, -9, True, "Killed")


def test_a_worker_of_which_nothing_is_known(call: RemoteCall) -> None:
    error = worker_died(call, "", WorkerExit(), how="was lost", others="The others wait.")
    assert str(error).startswith("abs(-1) ended with its worker, which was lost. The others wait. The task plugin")
    assert (error.pid, error.exit_code, error.out_of_memory, error.stderr) == (None, None, False, "")


def test_a_call_that_was_killed(call: RemoteCall) -> None:
    assert str(call_killed(call)) == "abs(-1) was ended by kill_workers(), with every process that it had started."


def test_each_call_of_a_broken_executor_has_an_error_of_its_own() -> None:
    cause = ValueError("no")
    first, second = executor_broken(cause), executor_broken(cause)
    assert first is not second
    assert type(first) is BrokenExecutor
    assert first.__cause__ is cause
    assert str(first) == "No call can run any more: ValueError: no"
    assert str(executor_broken(cause, BrokenProcessPool, "Broken by ")) == "Broken by ValueError: no"
    assert type(executor_broken(cause, BrokenProcessPool)) is BrokenProcessPool


def test_what_a_batch_system_said_is_not_wrapped() -> None:
    cause = BatchSystemError("no such queue", command="sbatch", output="queue?")
    error = executor_broken(cause)
    assert isinstance(error, BatchSystemError)
    assert error is not cause
    assert (str(error), error.command, error.output) == (str(cause), "sbatch", "queue?")
