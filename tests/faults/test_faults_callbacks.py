"""Group D: a callback misbehaves."""

from __future__ import annotations

import time

import fault_calls as calls
import pytest
from fault_case import told


def stumble(*_: object) -> None:
    msg = "the callback stumbled"
    raise RuntimeError(msg)


def test_d1_raises(case):
    task = case.task(calls.healthy)
    called = []
    case.at_start(lambda: task(1))
    task.on_result(stumble, limit=1)
    task.on_result(lambda _, result: called.append(result))
    with pytest.raises(RuntimeError, match="the callback stumbled") as info:
        case.run(on_exception="raise")
    assert called == [2]
    text = told(info.value)
    assert "stumble" in text
    assert "on_result" in text


def test_d2_raises_and_is_ignored(case, caplog):
    task = case.task(calls.healthy)
    called = []
    case.at_start(lambda: task(1))
    task.on_result(stumble, limit=1)
    task.on_result(lambda _, result: called.append(result))
    case.run()
    assert called == [2]
    (record,) = [record for record in caplog.records if record.name == "amltk"]
    assert "stumble" in record.message
    assert "on_result" in record.message


@pytest.mark.parametrize("submits", [True, False])
def test_d3_raises_in_on_empty(case, submits):
    task = case.task(calls.healthy)
    case.at_start(lambda: task(1) if submits else None)
    case.scheduler.on_empty(stumble, limit=1)
    with pytest.raises(RuntimeError, match="the callback stumbled"):
        case.run(on_exception="raise")


def test_d4_raises_in_on_finishing(case):
    task = case.task(calls.healthy)
    case.at_start(lambda: task(1))
    case.scheduler.on_finishing(stumble, limit=1)
    with pytest.raises(RuntimeError, match="the callback stumbled"):
        case.run(on_exception="raise")
    assert case.results(task) == [2]


def test_d5_raises_while_it_handles_an_error(case):
    task = case.task(calls.fail_deep)
    case.at_start(lambda: task(5))
    task.on_exception(stumble, limit=1)
    with pytest.raises(ExceptionGroup) as info:
        case.run(on_exception="raise")
    assert {str(error) for error in info.value.exceptions} == {"x is 5", "the callback stumbled"}


def gated(case, number: int):
    """Have calls wait for the gate; all run when the last of the files `began` is there."""
    task = case.task(calls.wait_for)
    began = [case.folder / f"began-{n}" for n in range(number)]
    case.at_start(lambda: [task(case.gate, each) for each in began])
    return task, began


def test_d6_several_fail_at_once(case):
    _, began = gated(case, 2)

    case.at_start(lambda: case.when_there(began[0], lambda: case.when_there(began[1], lambda: case.open_gate("fail"))))
    with pytest.raises(ExceptionGroup) as info:
        case.run(on_exception="raise")
    assert [str(error) for error in info.value.exceptions] == ["told to fail"] * 2


def test_d7_fails_while_the_run_drains(case):
    _, began = gated(case, 1)

    def stop() -> None:
        case.scheduler.stop()
        case.open_gate("fail")

    case.at_start(lambda: case.when_there(began[0], stop))
    with pytest.raises(ValueError, match="told to fail"):
        case.run(on_exception="raise")


def test_d8_results_come_while_the_run_ends(case):
    task, began = gated(case, 2)

    def stop() -> None:
        case.scheduler.stop()
        case.open_gate()

    case.at_start(lambda: case.when_there(began[0], lambda: case.when_there(began[1], stop)))
    case.run()
    assert case.results(task) == ["told to return"] * 2


def test_d9_takes_seconds(case, caplog):
    task = case.task(calls.healthy)
    case.at_start(lambda: task(1))

    def dawdle(*_: object) -> None:
        time.sleep(1.2)
        case.loop.forgive()

    task.on_result(dawdle, limit=1)
    case.run()
    (record,) = [record for record in caplog.records if record.name == "amltk"]
    assert "dawdle" in record.message
    assert "on_result" in record.message
