"""Group G: plugins and backends."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor

import fault_calls as calls
import pytest

from amltk import Scheduler, cli
from amltk.exceptions import BrokenBackendError
from amltk_testing import FakeSite


def test_g1_a_plugin_cannot_be_imported(case, tmp_path, capsys):
    with FakeSite(tmp_path / "site") as site:
        site.add("amltk-broken", "import a_module_that_is_missing", backends="broken")
        with pytest.raises(BrokenBackendError, match="a_module_that_is_missing"):
            Scheduler.with_broken()
        cli.main(["backends"])
        assert "a_module_that_is_missing" in capsys.readouterr().out
        task = case.task(calls.double)
        case.at_start(lambda: task(1))
        case.run()
    assert case.results(task) == [2]


def test_g3_keywords_like_options_of_engines(case):
    names = [
        "priority",
        "key",
        "workers",
        "retries",
        "pure",
        "name",
        "timeout",
        "resources",
        "fn",
        "function",
        "args",
        "self",
    ]
    given = {name: number for number, name in enumerate(names)}
    task = case.task(calls.echo)
    case.at_start(lambda: task(**given))
    case.run()
    assert case.results(task) == [given]


def test_g4_twice(case):
    task = case.task(calls.token)
    case.at_start(lambda: [task(1, x=2), task(1, x=2)])
    case.run()
    assert len(set(case.results(task))) == 2


class Twice(ThreadPoolExecutor):
    """Resolves each future a second time."""

    def submit(self, fn, /, *args, **kwargs):
        future = super().submit(fn, *args, **kwargs)
        again = []

        def resolve(future):
            if not again:
                again.append(True)
                future._state = "RUNNING"
                future.set_result("the second")

        future.add_done_callback(resolve)
        return future


def test_g7_a_future_is_resolved_twice(case):
    with Twice(1) as executor:
        case.open(executor)
        task = case.task(calls.token)
        case.at_start(lambda: [task(n) for n in range(3)])
        case.run()
        assert len(case.ended(task)) == 3
    case.open()


class Never(ThreadPoolExecutor):
    """Takes calls, and that is the last one hears of them."""

    def submit(self, fn, /, *args, **kwargs):
        future = Future()
        future.set_running_or_notify_cancel()
        return future


def test_g7_a_future_is_never_resolved(case, caplog):
    with Never(1) as executor:
        case.open(executor)
        task = case.task(calls.token)
        case.at_start(lambda: task(1))
        case.run(timeout=0.1, wait=False)
        assert case.ended(task) == [("cancelled", None)]
        assert "Never" in caplog.text
        assert "token" in caplog.text
    case.open()
