"""The parts of the kit: the plugin of pytest, the suite for task plugins, and what helps to test callbacks."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap

import pytest

from amltk import Event, Scheduler, TaskPlugin
from amltk.exceptions import UnknownBackendError, UnknownEventError
from amltk.plugins import plugin_manager
from amltk_testing import EventRecorder, ManualExecutor, fake_distribution


@pytest.fixture
def run_pytest(tmp_path):
    """Run pytest in a folder of its own; return its exit code and what it wrote."""

    def run(*arguments, code="", **environ):
        (tmp_path / "pytest.ini").write_text("[pytest]\n")
        if code:
            (tmp_path / "test_it.py").write_text(textwrap.dedent(code))
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments],
            cwd=tmp_path,
            env={**os.environ, **environ},
            capture_output=True,
            text=True,
            timeout=50,
            check=False,
        )
        return done.returncode, done.stdout + done.stderr

    return run


# The plugin of pytest


def test_a_run_that_does_not_use_it_is_as_without_it(run_pytest):
    code = """
        import sys

        def test_nothing_was_loaded():
            loaded = [name for name in sys.modules if name.startswith("amltk")]
            assert sorted(loaded) == ["amltk_testing", "amltk_testing.pytest_plugin"]
            assert "pluggy" in sys.modules and "rich" not in sys.modules
    """
    status, output = run_pytest(code=code)
    assert (status, "amltk" in output) == (0, False), output


def test_an_installed_backend_is_tested_without_a_file(run_pytest, tmp_path):
    own = "def test_of_the_project():\n    assert False"
    status, output = run_pytest(
        "--amltk-backend=sequential", "--amltk-score=score.json", "-k", "result or argument", code=own
    )
    assert status == 0, output
    assert "sequential" in output
    score = json.loads((tmp_path / "score.json").read_text())["sequential"]
    assert score["failed"] == score["not run"] == 0
    assert score["tests"]["TestBackend::test_a_call_returns_its_result"] == {"group": "plugin", "outcome": "passed"}
    skipped = score["tests"]["TestBackend::test_an_argument_that_can_not_be_read_fails_its_call"]
    assert skipped == {
        "group": "pickling",
        "outcome": "not applicable",
        "why": "not applicable: needs_pickling is not claimed",
    }
    assert score["groups"]["pickling"] == {"passed": 0, "not applicable": 3, "not run": 0, "failed": 0}
    assert f"{score['passed']} of {score['passed']}" in score["badge"]
    assert score["badge"] in output


def test_an_unknown_backend_fails_one_test_and_the_others_say_why(run_pytest, tmp_path):
    status, output = run_pytest("--amltk-backend=nowhere", "--amltk-score=score.json")
    assert status == 1
    score = json.loads((tmp_path / "score.json").read_text())["nowhere"]
    (failed,) = [test for test in score["tests"].values() if test["outcome"] == "failed"]
    assert "There is no backend 'nowhere'" in failed["why"]
    assert score["not run"] > 40
    assert "not run: test_the_plugin_loads fails" in output


@pytest.mark.parametrize("file", ["no/such/folder/score.json", "."])
def test_a_score_card_that_can_not_be_written_is_refused_before_the_tests(run_pytest, file):
    status, output = run_pytest("--amltk-backend=sequential", f"--amltk-score={file}")
    assert status == pytest.ExitCode.USAGE_ERROR
    assert f"--amltk-score={file}: there is no such folder, or it is one itself" in output
    assert "passed" not in output


def test_wrong_attributes_are_told_in_one_sentence(run_pytest):
    code = """
        from amltk_testing import BackendTests, TaskPluginTests

        class TestOptions(BackendTests):
            backend = "sequential"
            options = ["max_workers"]

        class TestValue(BackendTests):
            backend = "sequential"
            options = {"max_workers": 2}

        class TestPlugin(TaskPluginTests):
            plugin = 3
    """
    status, output = run_pytest(code=code)
    assert status == pytest.ExitCode.TESTS_FAILED
    assert "TestOptions.options must be a mapping, as in {'max_workers': 2}, got ['max_workers']" in output
    assert "the options {'max_workers': 2} are refused: with_sequential has no option 'max_workers'" in output
    assert "TestPlugin.plugin must be a class or a function, as in plugin = MyPlugin, got 3" in output
    assert "During handling" not in output
    assert "Traceback" not in output


def test_a_modest_backend_is_told_what_it_could_claim(run_pytest, tmp_path):
    code = """
        from concurrent.futures import ThreadPoolExecutor
        from amltk.backend import Backend
        from amltk.plugins import plugin_manager
        from amltk_testing import BackendTests

        class Modest(Backend):
            name = "modest"
            summary = ""

            def open(self):
                return ThreadPoolExecutor()

        plugin_manager().register(Modest)

        class TestModest(BackendTests):
            backend = "modest"
    """
    status, output = run_pytest("--amltk-score=score.json", "-k", "lambdas or whatever", code=code)
    assert status == 0, output
    told = json.loads((tmp_path / "score.json").read_text())["modest"]["told"]
    assert sorted(told) == ["carries_any_exception: claim it, it holds", "takes_any_function: claim it, it holds"]
    assert "NOTE: takes_any_function" in output


# The suite for task plugins

PLUGINS = '''
import threading
from amltk import Event, Refusal, TaskPlugin
from amltk_testing import TaskPluginTests

class Right(TaskPlugin):
    """Lets three calls pass."""
    SPENT = Event("spent", "A call was refused; callbacks receive (task).")
    def attach_task(self, task):
        self.n = 0
        task.on_submitted(self.count)
    def count(self, *args, **kwargs):
        self.n += 1
    def pre_submit(self, function, /, *args, **kwargs):
        if self.n >= 3:
            self.task.emit(self.SPENT, self.task)
            return None
        return function, args, kwargs

class CountsTooEarly(Right):
    """Wrong."""
    def attach_task(self, task):
        self.n = 0
    def pre_submit(self, function, /, *args, **kwargs):
        submission = super().pre_submit(function, *args, **kwargs)
        self.n += 1
        return submission

class RefusesInSilence(Right):
    """Wrong."""
    def pre_submit(self, function, /, *args, **kwargs):
        return None if self.n >= 3 else (function, args, kwargs)

class HidesItsEvents(Right):
    """Wrong."""
    def events(self):
        return (Event("spent", "A call was refused; callbacks receive (task)."),)
    LATE = Event("late", "It was late; callbacks receive nothing.")

class SaysNothingOfItsEvents(Right):
    """Wrong."""
    SPENT = Event("spent")

class Nameless(Right):
    pass

class SendsALock(Right):
    """Wrong."""
    def pre_submit(self, function, /, *args, **kwargs):
        submission = super().pre_submit(function, *args, **kwargs)
        return submission and (submission[0], args, {"y": threading.Lock()})

class SendsItself(Right):
    """Wrong."""
    def __reduce__(self):
        return Right, ()
    def pre_submit(self, function, /, *args, **kwargs):
        submission = super().pre_submit(function, *args, **kwargs)
        return submission and (submission[0], args, {"y": self})

class ForgetsItsTask(Right):
    """Wrong."""
    def attach_task(self, task):
        super().attach_task(task)
        self.mine, self.task = task, None
    def pre_submit(self, function, /, *args, **kwargs):
        if self.n >= 3:
            self.mine.emit(self.SPENT, self.mine)
            return None
        return function, args, kwargs

class Shares(Right):
    """Wrong."""
    n = 0
    def attach_task(self, task):
        task.on_submitted(self.count)
    def count(self, *args, **kwargs):
        Shares.n += 1

class RefusesMore(Right):
    """Wrong."""
    def pre_submit(self, function, /, *args, **kwargs):
        self.n += self.n == 2
        return super().pre_submit(function, *args, **kwargs)

class RunsOnce(Right):
    """Wrong."""
    def attach_task(self, task):
        super().attach_task(task)
        task.scheduler.on_finished(lambda: setattr(self, "n", 3))

for kind in [Right, *Right.__subclasses__()]:
    globals()["Test" + kind.__name__] = type(
        "Test" + kind.__name__, (TaskPluginTests,), {"plugin": kind, "refuses_after": 3, "seconds": 10}
    )
class Reasoned(TaskPlugin):
    """Refuses the fourth call in words."""
    def pre_submit(self, function, /, *args, **kwargs):
        return Refusal("it is the fourth") if self.task.n_submitted >= 3 else (function, args, kwargs)

class TestReasoned(TaskPluginTests):
    plugin = Reasoned
    refuses_after = 3
    seconds = 10

class Remembers(TaskPlugin):
    """Answers a call that has returned before."""
    def __init__(self):
        self.answers = {}
    def pre_submit(self, function, /, *args, **kwargs):
        return self.answers.get(args) or (function, args, kwargs)
    def before_delivery(self, future, outcome):
        self.answers[future.args] = outcome

class AnswersUnasked(Remembers):
    """Wrong: it does not say so."""

class AnswersTooLate(Remembers):
    """Wrong: it says that it is earlier."""
    def before_delivery(self, future, outcome):
        if self.task.n_submitted > 1:
            super().before_delivery(future, outcome)

class TestRemembers(TaskPluginTests):
    plugin = Remembers
    answers_after = 1
    seconds = 10

class TestAnswersUnasked(TaskPluginTests):
    plugin = AnswersUnasked
    seconds = 10

class TestAnswersTooLate(TaskPluginTests):
    plugin = AnswersTooLate
    answers_after = 1
    seconds = 10

one = Right()

class TestOneForAll(TaskPluginTests):
    plugin = staticmethod(lambda: one)
'''

EXPECTED = {
    "Right": set(),
    "CountsTooEarly": {"test_a_call_that_another_plugin_refuses_does_not_count"},
    "RefusesInSilence": {"test_a_refused_call_is_none_and_says_why"},
    "HidesItsEvents": {"test_its_events_are_declared"},
    "SaysNothingOfItsEvents": {"test_its_events_are_documented"},
    "Nameless": {"test_its_class_is_documented"},
    "SendsALock": {"test_what_it_sends_can_be_pickled"},
    "SendsItself": {"test_it_sends_neither_itself_nor_its_task"},
    "ForgetsItsTask": {"test_it_is_attached_once", "test_it_is_attached_to_its_task"},
    "RefusesMore": {
        "test_a_call_that_another_plugin_refuses_does_not_count",
        "test_it_refuses_only_when_it_says_so",
        "test_a_refused_call_is_none_and_says_why",
    },
    "RunsOnce": {"test_a_task_runs_again"},
    "Reasoned": set(),
    "Remembers": set(),
    "AnswersUnasked": {"test_it_answers_only_when_it_says_so"},
    "AnswersTooLate": {"test_an_answered_call_is_told_as_any"},
    "OneForAll": {"test_the_factory_makes_fresh_plugins"},
}


def test_each_bad_task_plugin_is_found_by_name(run_pytest, tmp_path):
    status, output = run_pytest("--amltk-score=score.json", code=PLUGINS)
    assert status == 1
    failed = {kind: set() for kind in EXPECTED} | {"Shares": set()}
    for score in json.loads((tmp_path / "score.json").read_text()).values():
        for name, test in score["tests"].items():
            if test["outcome"] == "failed":
                kind, _, test_name = name.removeprefix("Test").partition("::")
                failed[kind].add(test_name)
    # What is shared among objects makes most tests fail, by the calls of those before them.
    assert failed.pop("Shares")
    assert failed == EXPECTED, output


# What helps to test callbacks


def test_futures_resolve_when_told():
    executor = ManualExecutor()
    scheduler = Scheduler(executor)
    recorder = EventRecorder(scheduler)
    error = OSError("no paper")

    @scheduler.on_start
    def begin():
        for number in range(4):
            scheduler.submit(pow, 2, number)
        executor.finish(2)
        executor.fail(0, error)
        executor.resolve(3, "said so")
        executor.calls[1].future.cancel()

    scheduler.run(on_exception="ignore")
    assert sorted(result for _, result in recorder.received("on_future_result") if result != "said so") == [4]
    assert [raised for _, raised in recorder.received("on_future_exception")] == [error]
    recorder.assert_counts(on_future_submitted=4, on_future_result=2, on_future_exception=1, on_future_cancelled=1)
    recorder.assert_calls_ended_once()
    recorder.assert_last("on_finished")
    with pytest.raises(RuntimeError, match="Call 1 can't be taken up"):
        executor.start(1)


def test_a_manual_executor_receives_options():
    class Limit(TaskPlugin):
        def attach_task(self, task):
            task.timeout = 1.5

    executor = ManualExecutor()
    scheduler = Scheduler(executor)
    limited, free = scheduler.task(max, plugins=Limit()), scheduler.task(max)
    scheduler.on_start(lambda: (limited(1, 2), free(3, 4), executor.finish(0), executor.finish(1)))
    scheduler.run()
    assert [(call.options.timeout, call.future.result()) for call in executor.calls] == [(1.5, 2), (None, 4)]
    executor.shutdown()
    with pytest.raises(RuntimeError, match="shut down"):
        executor.submit(print)


def test_wrong_words_to_a_manual_executor_are_told():
    executor = ManualExecutor()
    for told in (executor.start, executor.finish, executor.resolve):
        with pytest.raises(IndexError, match="There is no call 1: 0 were submitted so far"):
            told(1)
    executor.submit(print)
    with pytest.raises(TypeError, match=r"error must be an exception, .* got 'no paper' of type str"):
        executor.fail(0, "no paper")
    assert not executor.calls[0].future.done()


@pytest.mark.parametrize(
    "claim",
    [
        lambda recorder: recorder.assert_counts(on_future_resutl=0),
        lambda recorder: recorder.assert_order("on_start", "on_future_resutl"),
        lambda recorder: recorder.assert_last("on_future_resutl"),
        lambda recorder: recorder.received("on_future_resutl"),
    ],
)
def test_an_event_that_nobody_has_is_no_event_that_did_not_happen(claim):
    with pytest.raises(UnknownEventError, match=r"'on_future_resutl'\. Did you mean 'on_future_result'"):
        claim(EventRecorder(Scheduler(ManualExecutor())))


def test_that_calls_ended_is_no_claim_about_no_calls():
    with pytest.raises(UnknownEventError, match="No recorded emitter has an event 'on_future_submitted'"):
        EventRecorder(Scheduler(ManualExecutor()).task(abs)).assert_calls_ended_once()


@pytest.mark.parametrize(
    ("claim", "said"),
    [
        (
            lambda recorder: recorder.assert_order("on_finished", "on_start"),
            "'on_start' was not emitted after 'on_fini",
        ),
        (lambda recorder: recorder.assert_counts(on_future_result=2), "'on_future_result' was emitted 1 times, not 2"),
        (lambda recorder: recorder.assert_last("on_start"), "'on_start' was not the last event"),
    ],
)
def test_a_failed_assertion_shows_what_was_emitted(claim, said):
    scheduler = Scheduler.with_sequential()
    recorder = EventRecorder(scheduler)
    scheduler.on_start(lambda: scheduler.submit(abs, -1))
    scheduler.run()
    with pytest.raises(AssertionError, match=said) as caught:
        claim(recorder)
    assert "\n   0  on_start\n   1  on_future_submitted\n" in str(caught.value)


def test_a_call_that_ends_twice_or_never_is_found():
    scheduler = Scheduler.with_sequential()
    recorder = EventRecorder(scheduler)
    scheduler.on_start(lambda: scheduler.submit(abs, -1))
    scheduler.run()
    recorder.assert_calls_ended_once()
    end = next(each for each in recorder.recorded if each.event == "on_future_result")
    recorder.recorded.append(end)
    with pytest.raises(AssertionError, match="had the events"):
        recorder.assert_calls_ended_once()
    recorder.recorded = [each for each in recorder.recorded if each.event != "on_future_result"]
    with pytest.raises(AssertionError, match="had the events"):
        recorder.assert_calls_ended_once()


def test_a_recorder_takes_events_of_plugins():
    class Loud(TaskPlugin):
        """Says that it was asked."""

        ASKED = Event("asked", "It was asked; callbacks receive nothing.")

        def pre_submit(self, function, /, *args, **kwargs):
            self.task.emit(self.ASKED)
            return function, args, kwargs

    scheduler = Scheduler(ManualExecutor())
    task = scheduler.task(abs, plugins=Loud())
    recorder = EventRecorder(task)
    scheduler.on_start(lambda: task(1))
    scheduler.on_start(scheduler.stop)
    scheduler.run()
    recorder.assert_order("asked", "on_submitted", "on_cancelled")


def test_a_fake_distribution_is_installed_in_its_block_only():
    code = """
        from concurrent.futures import ThreadPoolExecutor
        from amltk.backend import Backend

        class Mine(Backend):
            name = "mine"
            summary = ""

            def open(self):
                return ThreadPoolExecutor()
    """
    with fake_distribution("amltk-mine", code, backends="mine = @:Mine") as module:
        assert module == "amltk_mine"
        assert Scheduler.with_mine().executor_label == "with_mine()"
        assert "amltk_mine" in sys.modules
    assert "amltk_mine" not in sys.modules
    with pytest.raises(UnknownBackendError):
        plugin_manager().backend("mine")
