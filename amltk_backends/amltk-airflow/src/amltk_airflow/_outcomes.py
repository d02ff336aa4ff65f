"""Settles a call with the outcome that its task has written to the store."""

from __future__ import annotations

from amltk.backend import Execution
from amltk.exceptions import NotSupportedError
from amltk.remote.worker_errors import executor_broken
from amltk_airflow import _errors, _messages
from amltk_airflow._call import Call
from amltk_airflow._messages import Outcome


def settle(call: Call, outcome: Outcome, data: bytes) -> BaseException | None:
    """Settle a call; return the error that keeps all other calls from running, or None.

    Args:
        call: A call that is not cancelled.
        outcome: Its outcome.
        data: The bytes that `run_call` returned, if the call has returned or raised.
    """
    if outcome.kind in {_messages.RESULT, _messages.ERROR}:
        call.settle(data)
        return None
    if outcome.kind in {_messages.DIED, _messages.STOPPED}:
        known = call.future.execution
        started = None if known is None else known.started
        call.future.execution = Execution(host=outcome.host, pid=outcome.pid, started=started, duration=outcome.seconds)
    else:
        call.future.execution = None  # the call itself has not begun
    if outcome.kind == _messages.DIED:
        call.fail(_errors.died(call, outcome))
    elif outcome.kind == _messages.STOPPED:
        call.fail(_errors.ended(call, outcome))
    elif outcome.kind == _messages.REFUSED:
        call.fail(_errors.refused(call, outcome))
    else:
        failure = NotSupportedError(f"{outcome.text} Install the same versions on both sides.")
        call.fail(executor_broken(failure))
        return failure
    return None
