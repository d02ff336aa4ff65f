"""Groups of entry points: one for each kind. What is in a wrong one is reported with the right one."""

from __future__ import annotations

import json
import sys

import pytest

from amltk import Scheduler
from amltk.cli import main
from amltk.doctor import examine_all
from amltk.exceptions import BrokenBackendError, BrokenPluginError, PluginError, UnknownBackendError
from amltk.plugins import plugin_manager

PROGRESS = """
    from amltk import TaskPlugin

    class Progress(TaskPlugin):
        '''Shows how far a task is.'''
        name = "progress"
"""

BACKEND = """
    from concurrent.futures import ThreadPoolExecutor
    from amltk.backend import Backend

    class Good(Backend):
        name = "good"
        summary = "Good."

        def open(self):
            return ThreadPoolExecutor()
"""

JOURNAL = """
    from amltk import SchedulerPlugin

    class Journal(SchedulerPlugin):
        '''Remembers.'''
        name = "journal"
"""

OBSERVER = """
    from amltk.hookspecs import hookimpl

    @hookimpl
    def amltk_task_created(task):
        pass
"""

BACKEND_LINE = '[project.entry-points."amltk.backends"] good = "their_good:Good"'
TASK_PLUGIN_LINE = '[project.entry-points."amltk.task_plugins"] progress = "their_progress:Progress"'
JOURNAL_LINE = '[project.entry-points."amltk.scheduler_plugins"] journal = "their_journal:Journal"'
OBSERVER_LINE = '[project.entry-points."amltk.observers"] eye = "their_eye"'


@pytest.fixture
def path(site, monkeypatch):
    """Fake distributions that the processes of `amltk doctor` see, too."""
    monkeypatch.setenv("PYTHONPATH", str(site.folder))
    return site


def add(site, distribution, code, group, line):
    """Add a distribution with one line in a group of any name."""
    module = site.add(distribution, code)
    (info,) = site.folder.glob(f"{module}-1.0.dist-info")
    (info / "entry_points.txt").write_text(f"[{group}]\n{line}\n", encoding="utf-8")
    return module


def listed(capsys, command="plugins"):
    """Return the rows of `amltk plugins` by name."""
    assert main([command, "--json"]) == 0
    return {row["name"]: row for row in json.loads(capsys.readouterr().out)}


def diagnosed():
    """Return what `amltk doctor` says of names that are no backends."""
    found = examine_all(run=False, limit=30)
    return {each.backend: each.checks[0].detail for each in found if each.checks[0].name == "entry point"}


def test_a_task_plugin_is_no_constructor(site):
    module = site.add("their-progress", PROGRESS, task_plugins="progress = @:Progress")
    assert "with_progress" not in dir(Scheduler)
    assert "progress" not in plugin_manager().backend_names()
    with pytest.raises(AttributeError, match="There is no backend 'progress'"):
        _ = Scheduler.with_progress
    with pytest.raises(UnknownBackendError, match=r"their-progress 1\.0 brings a task plugin of that name\."):
        Scheduler.with_backend("progress")
    assert module not in sys.modules


@pytest.mark.parametrize(
    "groups", [{"scheduler_plugins": "journal"}, {"observers": "journal"}, {"commands": "journal"}]
)
def test_nothing_of_another_kind_is_a_constructor(site, groups):
    module = site.add("their-journal", "1 / 0", **groups)
    assert "with_journal" not in dir(Scheduler)
    assert not hasattr(Scheduler, "with_journal")
    assert module not in sys.modules


def test_one_name_may_stand_for_one_thing_of_each_kind(site):
    site.add("their-good", BACKEND, backends="good = @:Good")
    site.add("their-plugin", PROGRESS.replace('"progress"', '"good"'), task_plugins="good = @:Progress")
    assert Scheduler.with_good().executor_label == "with_good()"
    assert plugin_manager().task_plugin("good").__name__ == "Progress"


def test_a_scheduler_plugin_is_found_and_listed(site, capsys):
    code = (
        "from amltk import SchedulerPlugin, TaskPlugin\n"
        "class Journal(SchedulerPlugin):\n    'Remembers.'\n    name = 'journal'\n"
        "class Plain:\n    name = 'plain'\n"
        "class OfTask(TaskPlugin):\n    name = 'of-task'\n"
    )
    groups = {"scheduler_plugins": "journal = @:Journal\nlost = @:Nothing\nplain = @:Plain\nof-task = @:OfTask"}
    site.add("their-journal", code, **groups)
    assert plugin_manager().scheduler_plugin("journal").__name__ == "Journal"
    rows = listed(capsys)
    assert (rows["journal"]["status"], rows["journal"]["summary"]) == ("ready", "Remembers.")
    assert rows["lost"]["status"] == "broken"
    assert "not a subclass of amltk.SchedulerPlugin" in rows["plain"]["reason"]
    assert "it is a task plugin in the group 'amltk.scheduler_plugins'" in rows["of-task"]["reason"]
    with pytest.raises(PluginError, match=r"no scheduler plugin 'journl'\. Did you mean 'journal'"):
        plugin_manager().scheduler_plugin("journl")


@pytest.mark.parametrize(
    ("code", "line", "reason"),
    [
        (PROGRESS, "progress = their_x:Progress", TASK_PLUGIN_LINE.replace("their_progress", "their_x")),
        (PROGRESS, "progress = their_x", TASK_PLUGIN_LINE.replace("their_progress", "their_x")),
        (JOURNAL, "journal = their_x:Journal", JOURNAL_LINE.replace("their_journal", "their_x")),
        (BACKEND, "good = their_x:Good", BACKEND_LINE.replace("their_good", "their_x")),
        (OBSERVER, "eye = their_x", OBSERVER_LINE.replace("their_eye", "their_x")),
        ("x = 1", "odd = their_x", "the groups are 'amltk.backends' for a backend, 'amltk.task_plugins' for a task"),
        ("1 / 0", "odd = their_x", "'amltk.observers' for an observer, 'amltk.commands' for a command; ZeroDivision"),
        (None, "odd = their x", "for a command; its entry point 'odd = their x' in ["),
    ],
    ids=[
        "task plugin",
        "module of a task plugin",
        "scheduler plugin",
        "backend",
        "observer",
        "nothing of ours",
        "broken",
        "malformed",
    ],
)
@pytest.mark.parametrize(
    "group",
    [
        "amltk",
        "amltk.plugins",
        "amltk.backend",
        "amltk_task_plugins",
        "Amltk.Backends",
        "amtlk.backends",
        "amltk-plugin",
    ],
)
def test_a_group_that_looks_like_ours_and_is_not_is_reported_with_the_right_one(
    site, capsys, group, code, line, reason
):
    add(site, "their-x", code, group, line)
    name = line.partition(" ")[0]
    row = listed(capsys)[name]
    assert (row["status"], row["distribution"]) == ("broken", "their-x")
    assert f"the group '{group}' of entry points" in row["reason"]
    assert reason in row["reason"]


@pytest.mark.parametrize("group", ["amltk_dask.plugins", "mltk.plugins", "pytest11", "automl.amltk", "amltks.other"])
def test_groups_of_others_are_theirs(site, capsys, group):
    add(site, "their-x", "1 / 0", group, "odd = their_x")
    assert "odd" not in listed(capsys)
    assert "their_x" not in sys.modules


def test_a_backend_among_the_task_plugins_is_reported_by_both_lists_or_where_it_is_asked_for(site, capsys):
    site.add("their-good", BACKEND, task_plugins="good = @:Good")
    reason = listed(capsys)["good"]["reason"]
    said = "it is a backend in the group 'amltk.task_plugins' of entry points, which is for task plugins; write in its "
    assert reason == f"{said}pyproject.toml: {BACKEND_LINE}"
    with pytest.raises(BrokenPluginError, match="it is a backend in the group"):
        plugin_manager().task_plugin("good")
    with pytest.raises(UnknownBackendError, match=r"their-good 1\.0 brings a task plugin of that name"):
        Scheduler.with_backend("good")


def test_a_task_plugin_among_the_backends_is_reported_by_both_lists(site, capsys):
    site.add("their-progress", PROGRESS, backends="progress = @:Progress")
    assert TASK_PLUGIN_LINE in listed(capsys)["progress"]["reason"]
    assert TASK_PLUGIN_LINE in listed(capsys, "backends")["progress"]["reason"]
    with pytest.raises(BrokenBackendError, match="which is for backends; write in its pyproject"):
        Scheduler.with_progress()


@pytest.mark.parametrize("group", ["scheduler_plugins", "observers", "commands"])
def test_a_task_plugin_in_any_other_group_is_not_used(site, capsys, caplog, group):
    site.add("their-progress", PROGRESS, **{group: "progress = @:Progress"})
    if group == "commands":
        assert main(["progress"]) == 2
        assert TASK_PLUGIN_LINE in capsys.readouterr().err
    else:
        assert TASK_PLUGIN_LINE in listed(capsys)["progress"]["reason"]
    if group == "observers":
        Scheduler.with_threads()
        assert TASK_PLUGIN_LINE in caplog.text


def test_a_scheduler_plugin_among_the_task_plugins_is_reported(site, capsys):
    site.add("their-journal", JOURNAL, task_plugins="journal = @:Journal")
    assert JOURNAL_LINE in listed(capsys)["journal"]["reason"]
    with pytest.raises(BrokenPluginError, match=r"it is a scheduler plugin in the group 'amltk\.task_plugins'"):
        plugin_manager().task_plugin("journal")


def test_what_is_no_scheduler_plugin_is_refused(site):
    site.add("their-journal", "class Journal: name = 'journal'", scheduler_plugins="journal = @:Journal")
    with pytest.raises(BrokenPluginError, match=r"of type type, which is not a subclass of amltk\.SchedulerPlugin"):
        plugin_manager().scheduler_plugin("journal")


def test_an_observer_among_the_backends_is_reported(site, capsys):
    site.add("their-eye", OBSERVER, backends="eye")
    assert OBSERVER_LINE in listed(capsys, "backends")["eye"]["reason"]


def test_the_module_of_a_backend_is_not_the_backend(site):
    site.add("their-good", BACKEND, backends="good")
    with pytest.raises(BrokenBackendError) as caught:
        Scheduler.with_good()
    assert str(caught.value).endswith(f"their_good is a module, not a backend; write {BACKEND_LINE}")


def test_the_module_of_a_task_plugin_is_not_the_plugin(site, capsys):
    site.add("their-progress", PROGRESS, task_plugins="progress")
    assert (
        listed(capsys)["progress"]["reason"]
        == f"their_progress is a module, not a task plugin; write {TASK_PLUGIN_LINE}"
    )


def test_a_task_plugin_has_the_name_of_its_entry_point(site):
    site.add("their-progress", PROGRESS, task_plugins="advance = @:Progress")
    said = "their_progress:Progress has the name 'progress', and its entry point the name 'advance'; give both the same"
    with pytest.raises(BrokenPluginError, match=said):
        plugin_manager().task_plugin("advance")


def test_who_asks_for_a_backend_in_a_group_that_is_not_read_is_told(site):
    add(site, "their-good", BACKEND, "amltk", "good = their_good:Good")
    with pytest.raises(UnknownBackendError) as caught:
        Scheduler.with_backend("good")
    said = f"their-good 1.0 brings it in the group 'amltk' of entry points, which is not read: {BACKEND_LINE}"
    assert said in str(caught.value)
    assert "their_good" not in sys.modules


def test_a_distribution_without_an_entry_point_is_told_which_to_write(site):
    site.add("amltk-their-own", BACKEND)
    with pytest.raises(UnknownBackendError) as caught:
        Scheduler.with_backend("their_own")
    line = '[project.entry-points."amltk.backends"] their_own = "amltk_their_own.plugin:Class"'
    said = f"amltk-their-own 1.0 is installed, and has no entry point of that name: write {line} in its pyproject.toml"
    assert said in str(caught.value)


@pytest.mark.parametrize("name", ["testing", "core", "no such", "../amltk-core", "a" * 5000, "ä"])
def test_no_other_name_is_told_of_an_entry_point(name):
    with pytest.raises(UnknownBackendError) as caught:
        Scheduler.with_backend(name)
    assert "entry point" not in str(caught.value)


def test_a_group_that_is_not_read_is_in_the_list_of_backends(site, capsys):
    add(site, "their-good", BACKEND, "amltk.backend", "good = their_good:Good")
    row = listed(capsys, "backends")["good"]
    assert row["status"] == "broken"
    assert BACKEND_LINE in row["reason"]


def test_what_is_disabled_is_not_loaded_to_tell_its_kind(site, capsys, monkeypatch):
    add(site, "their-good", BACKEND, "amltk", "good = their_good:Good")
    monkeypatch.setenv("AMLTK_DISABLE_PLUGINS", "good")
    assert listed(capsys)["good"]["status"] == "disabled"
    assert diagnosed() == {}
    assert "their_good" not in sys.modules


def test_doctor_reports_wrong_groups(path):
    add(path, "their-good", BACKEND, "amltk", "good = their_good:Good")
    path.add("their-progress", PROGRESS, backends="progress = @:Progress")
    path.add("their-eye", OBSERVER, task_plugins="eye")
    path.add("their-fine", PROGRESS.replace('"progress"', '"fine"'), task_plugins="fine = @:Progress")
    found = diagnosed()
    assert sorted(found) == ["eye", "good", "progress"]
    for name, line in (("eye", OBSERVER_LINE), ("good", BACKEND_LINE), ("progress", TASK_PLUGIN_LINE)):
        assert line in found[name]
    assert "their_good" not in sys.modules


def test_doctor_reports_a_wrong_group_whatever_its_module_does(path):
    add(path, "their-good", "import os; os._exit(3)", "amltk.plugins", "good = their_good:Good")
    assert "'amltk.plugins' of entry points, which is not read; the groups are" in diagnosed()["good"]


def test_a_program_registers_a_class_of_task_plugins(site, capsys):
    (site.folder / "our_plugins.py").write_text("from amltk import TaskPlugin\nclass Own(TaskPlugin):\n    'Ours.'\n")
    from our_plugins import Own

    plugin_manager().register(Own)
    plugin_manager().register(Own)  # twice is once
    assert plugin_manager().task_plugin("Own") is Own
    assert listed(capsys)["Own"]["distribution"] == "(registered by the program)"
    with pytest.raises(BrokenPluginError, match=r"The plugin Timeout is broken: its name 'timeout' belongs to amltk-"):
        plugin_manager().register(type("Timeout", (Own,), {"name": "timeout"}))
