"""Plugins: found, loaded, blocked, listed; each isolated from the others' faults. With fake installed distributions."""

from __future__ import annotations

import inspect
import logging
import re
import sys
import types
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import amltk
from amltk import ExitState, Scheduler, hookspecs
from amltk.backend import Backend
from amltk.exceptions import (
    BackendError,
    BackendNotInstalledError,
    BrokenBackendError,
    BrokenPluginError,
    PluginError,
    PluginNotInstalledError,
    UnknownBackendError,
)
from amltk.hookspecs import hookimpl
from amltk.plugins import plugin_manager
from amltk.plugins.catalog import KNOWN_BACKENDS, KNOWN_TASK_PLUGINS, how_to_install
from amltk.plugins.hooks import Hooks
from amltk.plugins.listing import list_backends, list_plugins
from amltk_testing import ManualExecutor

# A backend `good` in a module, as its authors would write it.
GOOD = """
    from concurrent.futures import Executor
    from amltk.backend import Backend, Capabilities

    class Good(Backend):
        name = "good"
        summary = "Good places."

        def __init__(self, size: int = 1, *, colour: str = "red") -> None:
            '''Run calls in good places.

            The rest of it.
            '''
            self.size = size

        def open(self) -> Executor:
            from concurrent.futures import ThreadPoolExecutor
            return ThreadPoolExecutor(self.size)
"""

TASK_PLUGIN = """
    from amltk import TaskPlugin

    class Tidy(TaskPlugin):
        '''Tidies up.

        The rest of it.
        '''
        name = "tidy"
"""

# Backends that can't be used, and what is said of them. `{}` stands for the module.
BROKEN = {
    "fails on import": ("1 / 0", "ZeroDivisionError: division by zero"),
    "needs what is not there": ("import nowhere_at_all", "ModuleNotFoundError: No module named 'nowhere_at_all'"),
    "is no Python": ("def", "SyntaxError: "),
    "exits": ("import sys; sys.exit('goodbye')", "SystemExit: goodbye"),
    "is not there": (None, "ModuleNotFoundError: No module named '{}'"),
    "has no class": ("x = 1", "AttributeError: module '{}' has no attribute 'Good'"),
    "is an object": (GOOD + "    Good = Good()", "of type Good, which is not a subclass of amltk.backend.Backend"),
    "is another class": ("class Good: pass", "of type type, which is not a subclass of amltk.backend.Backend"),
    "is a function": ("def Good(): pass", "of type function, which is not a subclass of amltk.backend.Backend"),
    "has no open": (GOOD.replace("def open", "def begin"), "TypeError: Backend 'good' has no method open()."),
    "has no summary": (GOOD.replace("summary", "about"), "summary of backend 'good' must be of type str, got None"),
    "claims to kill": (
        GOOD + "        capabilities = Capabilities(stops_running_work=True)",
        "ValueError: Backend 'good' claims stops_running_work but has no method kill().",
    ),
    "has another name": (
        GOOD.replace('name = "good"', 'name = "better"'),
        "{}:Good has the name 'better', and its entry point the name 'good'; give both the same",
    ),
    "has a name that cannot be": (GOOD.replace('"good"', '"Good One"'), "ValueError: A backend's name is"),
    "has no name": (GOOD.replace('name = "good"', ""), "ValueError: A backend's name is"),
    "is made for a later contract": (
        GOOD + "    AMLTK_CONTRACT = 2",
        "version 2 of the plugin contract, and the installed amltk-core has version 1; a newer release of amltk-core",
    ),
    "is made for an earlier contract": (
        GOOD.replace("summary", "about") + "    AMLTK_CONTRACT = 0",
        "version 0 of the plugin contract, and the installed amltk-core has version 1; a newer release of the plugin",
    ),
    "is made for what is no version": (GOOD + "    AMLTK_CONTRACT = '1'", "AMLTK_CONTRACT must be an integer, got '1'"),
}


@pytest.fixture
def stranger(site):
    site.add("their-good", GOOD, backends="good = @:Good")
    return site


def broken(site, case):
    code, said = BROKEN[case]
    module = site.add("their-good", code, backends="good = @:Good", module="their_" + case.replace(" ", "_"))
    return said.format(module)


# A good backend of strangers


def test_a_strangers_backend_is_found_by_its_name(stranger):
    @(scheduler := Scheduler.with_good(2, colour="blue")).on_start
    def begin():
        scheduler.submit(len, "abc")

    results = []
    scheduler.on_future_result(lambda _, result: results.append(result))
    assert scheduler.run() == ExitState(ExitState.Code.EXHAUSTED)
    assert results == [3]
    assert scheduler.executor_label == "with_good(size=2, colour='blue')"


def test_with_backend_is_the_same_without_magic(stranger):
    assert Scheduler.with_backend("good", size=3).executor_label == "with_good(size=3)"


def test_a_constructor_has_the_signature_and_the_words_of_its_backend(stranger):
    constructor = Scheduler.with_good
    parameters = inspect.signature(constructor).parameters
    assert [str(parameter) for parameter in parameters.values()] == ["size: int = 1", "colour: str = 'red'"]
    assert inspect.signature(constructor).return_annotation is Scheduler
    assert constructor.__doc__ == "Run calls in good places.\n\nThe rest of it."
    assert constructor.__name__ == "with_good"
    assert constructor.__qualname__ == "Scheduler.with_good"


def test_dir_lists_the_constructors_of_what_is_installed(stranger, faraway):
    stranger.add("their-odd", "", backends="tidy-up")  # no constructor can be called so
    listed = dir(Scheduler)
    assert {"with_good", "with_threads", "with_sequential", "with_backend", "run"} <= set(listed)
    assert "with_faraway" not in listed
    assert all(name.isidentifier() for name in listed)
    on_object = dir(Scheduler.with_good())
    assert "on_start" in on_object
    assert "with_good" not in on_object  # it is called on the class


def test_a_subclass_of_scheduler_gets_an_object_of_its_own(stranger):
    class Own(Scheduler):
        pass

    assert type(Own.with_good()) is Own
    assert inspect.signature(Own.with_good).return_annotation is Own


@pytest.mark.skipif(sys.version_info < (3, 14), reason="such a function cannot be defined")
def test_annotations_may_name_what_only_type_checkers_import(site):
    there = "from concurrent.futures import Executor"
    assert there in GOOD
    code = GOOD.replace(there, f"TYPE_CHECKING = False\n    if TYPE_CHECKING: {there}")
    site.add("their-good", code, backends="good = @:Good")
    assert list(inspect.signature(Scheduler.with_good).parameters) == ["size", "colour"]
    assert Scheduler.with_good(2).executor_label == "with_good(size=2)"


@pytest.mark.parametrize(
    ("args", "options", "said"),
    [
        ((), {"sise": 2}, r"has no option 'sise'\. Did you mean 'size'\? Its options are: size, colour\."),
        ((1, 2), {}, r"too many positional arguments\. Its options are: size, colour\."),
        ((1,), {"size": 1}, r"multiple values for argument 'size'"),
    ],
)
def test_an_option_that_the_backend_does_not_have_is_refused_at_once(stranger, args, options, said):
    with pytest.raises(TypeError, match=r"^with_good.*" + said):
        Scheduler.with_good(*args, **options)


def test_an_option_that_is_missing_is_named_where_others_are_passed_on(site):
    site.add(
        "their-good",
        GOOD.replace("size: int = 1, *, colour: str", "size: int, **options: str").replace(' = "red")', ")"),
        backends="good = @:Good",
    )
    with pytest.raises(TypeError, match=r"missing a required argument: 'size'"):
        Scheduler.with_good(queue="long")


# Faults of backends


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_backend_says_why_whoever_asks(site, case):
    said = broken(site, case)
    for _ in range(2):  # what is remembered says the same
        with pytest.raises(BrokenBackendError) as caught:
            Scheduler.with_backend("good")
        assert str(caught.value).startswith("The backend 'good' of their-good 1.0 is broken: ")
        assert said in str(caught.value)
    assert caught.value.__cause__ is not None
    (row,) = [row for row in list_backends() if row.name == "good"]
    assert (row.status, row.distribution, row.version, row.backend) == ("broken", "their-good", "1.0", None)
    assert said in row.reason
    assert "\n" not in row.reason


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_backend_leaves_nothing_behind_and_the_others_unharmed(site, case):
    broken(site, case)
    site.add("their-fine", GOOD.replace('"good"', '"fine"'), backends="fine = @:Good")
    rows = {row.name: row for row in list_backends()}
    assert rows["good"].status == "broken"
    assert rows["fine"].status == rows["threads"].status == "ready"
    assert "better" not in rows
    assert rows["threads"].distribution == "amltk-threads"
    Scheduler.with_fine()
    Scheduler.with_threads()


@pytest.mark.parametrize("declared", ["entry point", "class", "attribute"])
def test_the_contract_is_that_of_the_class_or_of_either_module(site, declared):
    where = dict.fromkeys(["entry point", "class", "attribute"], "")
    where[declared] = "AMLTK_CONTRACT = 2"
    site.add("their-code", GOOD + f"        {where['attribute']}\n    {where['class']}")
    site.add("their-good", f"from their_code import Good\n{where['entry point']}", backends="good = @:Good")
    with pytest.raises(BrokenBackendError, match="it was made for version 2 of"):
        plugin_manager().backend("good")


def test_the_contract_of_an_object_with_hooks_is_that_of_its_module(site):
    code = """
        from amltk.hookspecs import hookimpl
        AMLTK_CONTRACT = 2
        class Hooks:
            @hookimpl
            def amltk_task_created(self):
                pass
        hooks = Hooks()
    """
    site.add("their-eye", code, observers="eye = @:hooks")
    (row,) = [row for row in list_plugins() if row.name == "eye"]
    assert "it was made for version 2 of" in row.reason


def test_a_task_plugin_made_for_another_contract_is_refused(site):
    site.add("their-tidy", TASK_PLUGIN + "    AMLTK_CONTRACT = 2", task_plugins="tidy = @:Tidy")
    with pytest.raises(BrokenPluginError, match=r"of their-tidy 1\.0 is broken: .* version 2 .* has version 1"):
        plugin_manager().task_plugin("tidy")


def test_a_constructor_of_a_broken_backend_is_there_and_says_why_when_it_is_called(site):
    broken(site, "fails on import")
    assert "division by zero" in Scheduler.with_good.__doc__
    with pytest.raises(BrokenBackendError, match="division by zero"):
        Scheduler.with_good()


def test_two_distributions_of_one_name_are_both_named_and_neither_is_used(site):
    site.add("good-one", GOOD, backends="good = @:Good")
    site.add("good-two", GOOD, backends="good = @:Good")
    with pytest.raises(BrokenBackendError, match=r"good-one 1\.0 and good-two 1\.0 both bring it; keep one: pip uni"):
        Scheduler.with_good()
    assert "good_one" not in sys.modules
    (row,) = [row for row in list_backends() if row.name == "good"]
    assert (row.status, row.distribution) == ("broken", "good-one, good-two")


def test_a_distribution_without_metadata_is_no_reason_to_fail(site):
    site.add("their-good", "1 / 0", backends="good = @:Good", metadata=False)
    printed = site.run("""
        from amltk import Scheduler
        from amltk.plugins.listing import list_backends
        try:
            Scheduler.with_good()
        except Exception as error:
            print(type(error).__name__, error)
        print([row for row in list_backends() if row.name == "good"])
    """)
    assert "BrokenBackendError The backend 'good' of an unknown distribution is broken: ZeroDivisionError" in printed


def test_an_entry_point_that_is_nonsense_is_broken(site):
    site.add("their-good", None, backends="good = not a module!")
    with pytest.raises(BrokenBackendError, match="their-good"):
        Scheduler.with_good()


def test_one_module_may_stand_behind_several_names(site):
    code = GOOD + "\n    class Best(Good):\n        name = 'best'\n"
    site.add("their-good", code, backends="good = @:Good\nbest = @:Best\nworst = @:Worst")
    assert Scheduler.with_best().executor_label == "with_best()"
    assert Scheduler.with_good().executor_label == "with_good()"
    with pytest.raises(BrokenBackendError, match="has no attribute 'Worst'"):
        Scheduler.with_backend("worst")
    assert Scheduler.with_best().executor_label == "with_best()"


def test_a_backend_without_init_has_no_options_and_the_words_of_its_class(site):
    code = """
        from concurrent.futures import ThreadPoolExecutor
        from amltk.backend import Backend

        class Good(Backend):
            'Run calls in good places.'
            name = "good"
            summary = "Good."

            def open(self):
                return ThreadPoolExecutor(1)
    """
    site.add("their-good", code, backends="good = @:Good")
    site.add(
        "their-best",
        code.replace("'Run calls in good places.'", "").replace('"good"', '"best"'),
        backends="best = @:Good",
    )
    assert Scheduler.with_good.__doc__ == "Run calls in good places."
    assert Scheduler.with_best.__doc__ == "Good."
    assert not inspect.signature(Scheduler.with_good).parameters
    with pytest.raises(TypeError, match=r"with_good has no option 'size'\. Its options are: none\."):
        Scheduler.with_good(size=1)


def test_options_are_looked_at_when_the_scheduler_is_made(site):
    code = GOOD.replace("self.size = size", "self.size = 10 // size")
    site.add("their-good", code, backends="good = @:Good")
    with pytest.raises(ZeroDivisionError):
        Scheduler.with_good(0)


def test_a_backend_that_makes_no_executor_is_told_off_when_the_run_starts(site):
    site.add(
        "their-good", GOOD.replace("return ThreadPoolExecutor(self.size)", "return self.size"), backends="good = @:Good"
    )
    with pytest.raises(
        TypeError, match=r"Backend 'good' opened 1 of type int, which is not a concurrent\.futures\.Exec"
    ):
        Scheduler.with_good().run()


# Three errors: unknown, known but not installed, broken


def test_an_unknown_backend_is_told_from_one_that_is_not_installed(site, faraway):
    with pytest.raises(UnknownBackendError) as unknown:
        Scheduler.with_backend("proceses")
    assert str(unknown.value).startswith("There is no backend 'proceses'. Did you mean 'processes'? Installed: ")
    assert str(unknown.value).endswith(" All about them: amltk backends")
    assert {"sequential", "threads"} <= set(str(unknown.value).split("Installed: ")[1].split(".")[0].split(", "))

    with pytest.raises(BackendNotInstalledError) as missing:
        Scheduler.with_backend("faraway")
    command = "pip install ./amltk_backends/amltk-faraway (in a clone of amltk)"
    assert str(missing.value) == f"The backend 'faraway' is not installed. Install it: {command}"
    assert [row.status for row in list_backends() if row.name == "faraway"] == ["not installed"]
    assert isinstance(missing.value, ImportError)

    assert len({UnknownBackendError, BackendNotInstalledError, BrokenBackendError}) == 3
    for one in (UnknownBackendError, BackendNotInstalledError, BrokenBackendError):
        assert issubclass(one, BackendError)


def test_near_misses_include_strangers(stranger):
    with pytest.raises(UnknownBackendError, match="Did you mean 'good'"):
        Scheduler.with_backend("goood")


def test_an_unknown_constructor_is_an_attribute_error(site):
    with pytest.raises(AttributeError, match=r"There is no backend 'proceses'\. Did you mean 'processes'"):
        Scheduler.with_proceses(2)
    assert not hasattr(Scheduler, "with_proceses")
    with pytest.raises(AttributeError, match="'Scheduler' has no attribute 'wiht_threads'"):
        _ = Scheduler.wiht_threads


def test_a_scheduler_says_where_its_constructors_are():
    scheduler = Scheduler(ManualExecutor())
    with pytest.raises(AttributeError, match=r"'with_threads'; .* is called on the class: Scheduler\.with_threads\("):
        scheduler.with_threads()
    with pytest.raises(AttributeError, match=r"^'Scheduler' object has no attribute 'on_strat'$"):
        _ = scheduler.on_strat


def test_a_constructor_of_what_is_not_installed_says_so_when_it_is_called(site, faraway):
    assert "pip install ./amltk_backends/amltk-faraway" in Scheduler.with_faraway.__doc__
    with pytest.raises(BackendNotInstalledError, match=r"pip install \./amltk_backends/amltk-faraway"):
        Scheduler.with_faraway(3, dag="x")


@pytest.mark.parametrize("wrong", [None, 3, Scheduler, ["threads"]])
def test_a_backends_name_is_a_string(site, wrong):
    with pytest.raises(TypeError, match=r"^name must be of type str, got"):
        Scheduler.with_backend(wrong)


def test_a_task_plugin_is_no_backend_and_a_backend_no_task_plugin(site):
    site.add("their-tidy", TASK_PLUGIN, task_plugins="tidy = @:Tidy")
    with pytest.raises(UnknownBackendError, match="There is no backend 'tidy'"):
        Scheduler.with_backend("tidy")
    with pytest.raises(PluginError, match="There is no task plugin 'threads'"):
        plugin_manager().task_plugin("threads")


# What is loaded when


def test_asking_for_one_backend_loads_its_module_only(stranger):
    stranger.add("their-other", GOOD, backends="other = @:Good")
    stranger.add("their-watch", "raise SystemError", observers="watch")
    printed = stranger.run("""
        import sys
        from amltk import Scheduler
        loaded = lambda: sorted(name for name in sys.modules if name.startswith(("their_", "amltk_", "rich")))
        print(loaded())
        Scheduler.with_good
        print(loaded())
        dir(Scheduler)
        print(loaded())
    """)
    assert printed.splitlines() == ["[]", "['their_good']", "['their_good']"]


def test_a_backend_makes_its_executor_when_a_run_starts_and_a_fresh_one_each_time(site):
    module = site.add(
        "their-good",
        GOOD.replace("return Thread", "made.append(ThreadPoolExecutor(self.size)); return made[-1]  #")
        + "\n    made = []",
        backends="good = @:Good",
    )
    scheduler = Scheduler.with_good()
    made = sys.modules[module].made
    assert made == []
    scheduler.run()
    scheduler.run()
    assert len(set(made)) == 2
    for executor in made:
        with pytest.raises(RuntimeError, match="after shutdown"):
            executor.submit(print)


def test_a_plugin_is_loaded_once(site):
    module = site.add(
        "their-good", "loads = globals().setdefault('loads', [])\nloads.append(1)\n1 / 0", backends="good = @:Good"
    )
    with pytest.raises(BrokenBackendError):
        Scheduler.with_good()
    (site.folder / f"{module}.py").write_text("import sys; sys.again = True")
    with pytest.raises(BrokenBackendError, match="division by zero"):
        Scheduler.with_good()
    assert not hasattr(sys, "again")


# Disabling


def test_a_disabled_backend_is_as_good_as_absent_and_says_so(stranger, monkeypatch):
    monkeypatch.setenv("AMLTK_DISABLE_PLUGINS", " good , sequential,,")
    with pytest.raises(BackendError, match=r"'good' is disabled: the environment variable AMLTK_DISABLE_PLUGINS"):
        Scheduler.with_good()
    with pytest.raises(BackendError, match="'sequential' is disabled"):
        Scheduler.with_backend("sequential")
    assert not {"with_good", "with_sequential"} & set(dir(Scheduler))
    rows = {row.name: row for row in list_backends()}
    assert rows["good"].status == rows["sequential"].status == "disabled"
    assert "AMLTK_DISABLE_PLUGINS" in rows["good"].reason
    assert rows["threads"].status == "ready"
    assert "their_good" not in sys.modules


def test_disabling_counts_for_what_was_loaded_before(stranger, monkeypatch):
    Scheduler.with_good()
    monkeypatch.setenv("AMLTK_DISABLE_PLUGINS", "good")
    with pytest.raises(BackendError, match="is disabled"):
        Scheduler.with_good()
    monkeypatch.delenv("AMLTK_DISABLE_PLUGINS")
    Scheduler.with_good()


def test_a_disabled_observer_is_not_loaded(site, monkeypatch, caplog):
    site.add("their-watch", "1 / 0", observers="watch")
    monkeypatch.setenv("AMLTK_DISABLE_PLUGINS", "watch")
    Scheduler.with_threads()
    assert not caplog.records
    (row,) = [row for row in list_plugins() if row.name == "watch"]
    assert row.status == "disabled"


def test_a_disabled_task_plugin_says_so(site, monkeypatch):
    site.add("their-tidy", TASK_PLUGIN, task_plugins="tidy = @:Tidy")
    monkeypatch.setenv("AMLTK_DISABLE_PLUGINS", "tidy")
    with pytest.raises(PluginError, match="The task plugin 'tidy' is disabled"):
        plugin_manager().task_plugin("tidy")


# Task plugins


def test_a_strangers_task_plugin_is_found_by_its_name(site):
    site.add("their-tidy", TASK_PLUGIN, task_plugins="tidy = @:Tidy")
    cls = plugin_manager().task_plugin("tidy")
    assert cls.name == "tidy"
    scheduler = Scheduler.with_threads()
    assert scheduler.task(len, plugins=cls()).plugins[0].task is scheduler.tasks[0]
    (row,) = [row for row in list_plugins() if row.name == "tidy"]
    assert (row.status, row.distribution, row.version, row.summary) == ("ready", "their-tidy", "1.0", "Tidies up.")
    assert "tidy" not in [row.name for row in list_backends()]


def test_what_is_no_task_plugin_is_refused(site):
    site.add("their-tidy", TASK_PLUGIN + "    tidy = Tidy()", task_plugins="tidy = @:tidy")
    with pytest.raises(BrokenPluginError, match=r"of type Tidy, which is not a subclass of amltk\.TaskPlugin"):
        plugin_manager().task_plugin("tidy")


def test_three_errors_of_task_plugins(site, monkeypatch):
    site.add("their-tidy", "1 / 0", task_plugins="tidy")
    with pytest.raises(BrokenPluginError, match=r"'tidy' of their-tidy 1\.0 is broken: ZeroDivisionError"):
        plugin_manager().task_plugin("tidy")
    with pytest.raises(PluginError, match=r"no task plugin 'call-limitr'\. Did you mean 'call-limiter'\?"):
        plugin_manager().task_plugin("call-limitr")
    monkeypatch.setattr("amltk.plugins.entry_points._entry_points", list)
    plugin_manager.cache_clear()
    with pytest.raises(PluginNotInstalledError, match=r"pip install \./amltk_plugins/amltk-pynisher"):
        plugin_manager().task_plugin("pynisher")


# Hooks. A test at the end sees that each hook has one.


WATCH = """
    from amltk.hookspecs import hookimpl

    seen = []
"""


def watch(site, code, name="watch"):
    """Install an observer with this code below the head of its module, and return its module once it is loaded."""
    site.add(f"their-{name}", WATCH + code, observers=name)
    plugin_manager().load_observers()
    return sys.modules[f"their_{name}"]


def test_amltk_scheduler_created(site):
    module = watch(
        site,
        """
    @hookimpl
    def amltk_scheduler_created(scheduler):
        seen.append((scheduler, scheduler.running(), scheduler.executor_label, len(scheduler.events)))
    """,
    )
    scheduler = Scheduler.with_threads(2)
    assert module.seen == [(scheduler, False, "with_threads(max_workers=2)", 11)]


def test_amltk_scheduler_created_is_also_called_for_an_executor_of_the_users(site, threads):
    module = watch(
        site,
        """
    @hookimpl
    def amltk_scheduler_created(scheduler):
        seen.append(scheduler)
    """,
    )
    assert module.seen == [Scheduler(executor=threads)]


def test_amltk_task_created(site):
    site.add("their-tidy", TASK_PLUGIN, task_plugins="tidy = @:Tidy")
    module = watch(
        site,
        """
    @hookimpl
    def amltk_task_created(task):
        seen.append((task, task.scheduler, task.plugins[0].task))
    """,
    )
    scheduler = Scheduler.with_threads()
    task = scheduler.task(len, plugins=plugin_manager().task_plugin("tidy")())
    assert module.seen == [(task, scheduler, task)]


def test_amltk_run_started(site):
    module = watch(
        site,
        """
    @hookimpl
    def amltk_run_started(scheduler):
        assert scheduler.running()
        scheduler.submit(print)
        seen.append("run_started")
    """,
    )
    scheduler = Scheduler.with_threads()
    scheduler.on_start(lambda: module.seen.append("on_start"))
    scheduler.on_future_result(lambda *_: module.seen.append("on_future_result"))
    assert module.seen == []
    scheduler.run()
    assert module.seen == ["run_started", "on_start", "on_future_result"]


def test_amltk_run_finished(site):
    module = watch(
        site,
        """
    @hookimpl
    def amltk_run_finished(scheduler, exit_state):
        seen.append(exit_state)
    """,
    )
    scheduler = Scheduler.with_threads()
    scheduler.on_finished(lambda: module.seen.append("on_finished"))
    state = scheduler.run()
    assert module.seen == ["on_finished", state]


def test_amltk_run_finished_comes_however_the_run_ends(site):
    module = watch(
        site,
        """
    @hookimpl
    def amltk_run_finished(exit_state):
        seen.append(exit_state)
    """,
    )
    scheduler = Scheduler.with_threads()
    error = ValueError("in a callback")

    @scheduler.on_start
    def fail():
        raise error

    with pytest.raises(ValueError, match="in a callback"):
        scheduler.run()
    assert module.seen == [ExitState(ExitState.Code.EXCEPTION, error)]


def test_amltk_event_emitted(site):
    module = watch(
        site,
        """
    @hookimpl
    def amltk_event_emitted(emitter, event, args, kwargs):
        seen.append((emitter, event, args, dict(kwargs)))
    """,
    )
    scheduler = Scheduler.with_threads()
    task = scheduler.task(round)
    scheduler.on_start(lambda: task(2.5, ndigits=0))
    scheduler.on_start(lambda: module.seen.append("callback"))
    scheduler.run()
    assert [entry if entry == "callback" else entry[1] for entry in module.seen] == [
        "on_future_submitted",
        "on_submitted",
        "callback",
        "on_start",
        "on_future_done",
        "on_future_result",
        "on_done",
        "on_result",
        "on_empty",
        "on_finishing",
        "on_finished",
    ]
    told = {entry[1]: entry for entry in module.seen if entry != "callback"}
    emitter, _, args, kwargs = told["on_submitted"]
    assert (emitter, args[1:], kwargs) == (task, (2.5,), {"ndigits": 0})
    emitter, _, args, _ = told["on_future_result"]
    assert (emitter, args[1:]) == (scheduler, (2.0,))


def test_amltk_event_emitted_comes_for_whatever_emitter_also_if_a_callback_raised(site):
    from amltk import Emitter, Event

    module = watch(
        site,
        """
    @hookimpl
    def amltk_event_emitted(event):
        seen.append(event)
    """,
    )
    emitter = Emitter()
    emitter.add_event(Event("hot"))

    @emitter.on("hot")
    def fail():
        raise ValueError

    with pytest.raises(ValueError):  # noqa: PT011 - there is one only
        emitter.emit("hot")
    assert module.seen == ["hot"]
    assert type(module.seen[0]) is Event


def test_nobody_pays_for_observers_that_are_not_there(site):
    from amltk.events import emitter

    watch(site, "    @hookimpl\n    def amltk_task_created(task): pass\n")
    assert emitter.observer is None


def test_observers_are_called_in_the_order_of_loading_unless_they_ask_for_another(site):
    order = []
    manager = plugin_manager()

    def plugin(name, **options):
        @hookimpl(**options)
        def amltk_task_created(task):
            order.append(name)

        return types.SimpleNamespace(amltk_task_created=amltk_task_created)

    for name, options in {
        "last": {"trylast": True},
        "one": {},
        "two": {},
        "first": {"tryfirst": True},
        "three": {},
    }.items():
        manager.register(plugin(name, **options), name)
    Scheduler.with_threads().task(len)
    assert order == ["first", "one", "two", "three", "last"]


def test_an_observer_that_raises_silences_nobody_and_harms_nothing(site, caplog):
    site.add(
        "their-angry",
        """
        from amltk.hookspecs import hookimpl

        @hookimpl
        def amltk_scheduler_created(scheduler):
            raise ValueError("I do not like it")

        amltk_task_created = amltk_run_started = amltk_run_finished = hookimpl(lambda: 1 / 0)

        @hookimpl
        def amltk_event_emitted(event):
            raise ValueError(event)
        """,
        observers="angry",
    )
    module = watch(
        site,
        """
    @hookimpl
    def amltk_scheduler_created():
        seen.append("scheduler_created")

    @hookimpl
    def amltk_task_created():
        seen.append("task_created")

    @hookimpl
    def amltk_run_started():
        seen.append("run_started")

    @hookimpl
    def amltk_event_emitted(event):
        seen.append(event)

    @hookimpl
    def amltk_run_finished():
        seen.append("run_finished")
    """,
    )
    scheduler = Scheduler.with_threads()
    scheduler.task(len)
    assert scheduler.run() == ExitState(ExitState.Code.EXHAUSTED)
    assert module.seen == [
        "scheduler_created",
        "task_created",
        "run_started",
        "on_start",
        "on_empty",
        "on_finishing",
        "on_finished",
        "run_finished",
    ]
    first = caplog.records[0]
    assert first.getMessage() == (
        "The plugin 'angry' of their-angry 1.0 (amltk.observers) raised in its hook amltk_scheduler_created; "
        "the run continues."
    )
    assert "I do not like it" in str(first.exc_info[1])
    assert len(caplog.records) == len(module.seen)


def test_a_broken_observer_is_reported_once_and_the_others_are_used(site, caplog):
    site.add("their-broken", "1 / 0", observers="broken")
    site.add("their-mistaken", WATCH + "    @hookimpl\n    def amltk_task_create(task): pass\n", observers="mistaken")
    watch(site, "    @hookimpl\n    def amltk_task_created(task): seen.append(task)\n")
    for _ in range(3):
        task = Scheduler.with_threads().task(len)
    assert {record.levelno for record in caplog.records} == {logging.WARNING}
    assert [record.getMessage() for record in caplog.records] == [
        "The plugin 'broken' of their-broken 1.0 is not used: ZeroDivisionError: division by zero",
        (
            "The plugin 'mistaken' of their-mistaken 1.0 is not used: it has a hook 'amltk_task_create', which amltk "
            "does not have. Did you mean 'amltk_task_created'?"
        ),
    ]
    assert sys.modules["their_watch"].seen[-1] is task
    rows = {row.name: row for row in list_plugins()}
    assert [rows[name].status for name in ("broken", "mistaken", "watch")] == ["broken", "broken", "ready"]
    assert rows["watch"].summary == "observes"


def test_of_an_observer_that_is_refused_no_hook_is_used(site, caplog):
    module = watch(
        site,
        """
    @hookimpl
    def amltk_scheduler_created(scheduler):
        seen.append(scheduler)

    @hookimpl
    def amltk_task_created(tsk):
        seen.append(tsk)
    """,
    )
    Scheduler.with_threads().task(len)
    assert module.seen == []
    assert "Argument(s) {'tsk'}" in caplog.records[0].getMessage()


def test_a_module_may_observe_and_bring_a_backend(site):
    module = site.add(
        "their-good",
        GOOD + WATCH + "    @hookimpl\n    def amltk_task_created(task):\n        seen.append(task)\n",
        backends="good = @:Good",
        observers="good",
    )
    task = Scheduler.with_good().task(len)
    assert sys.modules[module].seen == [task]


# Registered by the program


class Own(Backend):
    name = "own"
    summary = "Our own."

    def __init__(self, max_workers=None):
        self.max_workers = max_workers

    def open(self):
        return ThreadPoolExecutor(self.max_workers)


class OwnThreads(Own):
    name = "threads"


def test_a_program_may_register_a_class(site):
    plugin_manager().register(Own)
    plugin_manager().register(Own)  # twice is once
    assert Scheduler.with_own(2).executor_label == "with_own(max_workers=2)"
    assert "with_own" in dir(Scheduler)
    (row,) = [row for row in list_backends() if row.name == "own"]
    assert (row.status, row.distribution, row.summary) == ("ready", "(registered by the program)", "Our own.")
    assert row.backend is plugin_manager().backend("own") is Own


def test_a_program_may_register_an_installed_class_before_it_is_asked_for(stranger):
    import their_good

    plugin_manager().register(their_good.Good)
    assert Scheduler.with_good()
    (row,) = [row for row in list_backends() if row.name == "good"]
    assert (row.status, row.distribution) == ("ready", "their-good")


@pytest.mark.parametrize(
    ("plugin", "said"),
    [
        (None, "None is neither a module nor an object with hooks"),
        (3, "it implements no hook"),
        (types.SimpleNamespace(amltk_task_created=print), "it implements no hook"),
        (types.SimpleNamespace(amltk_task_create=hookimpl(lambda task: None)), "Did you mean 'amltk_task_created'"),
        (types.SimpleNamespace(amltk_task_created=hookimpl(lambda tsk: None)), "'tsk'"),
        (types.SimpleNamespace(amltk_register_backends=hookimpl(lambda register: None)), "which amltk does not have"),
        (type("Own", (Own,), {"summary": 3}), "summary of backend 'own' must be of type str, got 3 of type int"),
        (type("Plugin", (), {"amltk_task_created": hookimpl(lambda self: None)}), "take an object of it: Plugin()"),
        (OwnThreads, "its name 'threads' belongs to amltk-threads"),
    ],
)
def test_a_program_is_told_what_is_wrong_with_its_plugin(site, plugin, said):
    before = list_backends()
    for _ in range(2):
        with pytest.raises(BrokenPluginError, match=r"^The plugin ours is broken: ") as caught:
            plugin_manager().register(plugin, "ours")
        assert said in str(caught.value)
    assert list_backends() == before


def test_a_name_is_registered_once(site):
    plugin_manager().register(Own)
    with pytest.raises(BrokenPluginError, match="a backend 'own' is registered already"):
        plugin_manager().register(type("Other", (Own,), {}))
    assert plugin_manager().backend("own") is Own


# Listing


def test_backends_are_listed_whatever_becomes_of_them(stranger):
    rows = {row.name: row for row in list_backends()}
    assert set(KNOWN_BACKENDS) | {"good"} == set(rows)
    for name, distribution in KNOWN_BACKENDS.items():
        row = rows[name]
        assert row.distribution == distribution
        assert row.status in {"ready", "not installed"}
        if row.status == "ready":
            assert row.version
            assert row.summary == row.backend.summary
            assert not row.reason
        else:
            assert (row.version, row.backend, row.reason) == ("", None, how_to_install(distribution))
    good = rows["good"]
    assert (good.status, good.distribution, good.version, good.summary) == (
        "ready",
        "their-good",
        "1.0",
        "Good places.",
    )
    assert good.backend.name == "good"


def test_task_plugins_are_listed_whatever_becomes_of_them(site):
    rows = {row.name: row for row in list_plugins()}
    assert set(rows) >= set(KNOWN_TASK_PLUGINS)
    for name, distribution in KNOWN_TASK_PLUGINS.items():
        assert rows[name].distribution == distribution
        assert rows[name].status in {"ready", "not installed"}
    assert not set(rows) & set(KNOWN_BACKENDS)


def test_without_any_distribution_all_is_not_installed(site, monkeypatch):
    monkeypatch.setattr("amltk.plugins.entry_points._entry_points", list)
    assert {row.status for row in list_backends()} == {"not installed"}
    assert {row.status for row in list_plugins()} == {"not installed"}
    with pytest.raises(UnknownBackendError, match=r"Installed: none\."):
        Scheduler.with_backend("xyz")


# What the core offers in the name of other distributions


@pytest.mark.parametrize(
    ("module", "name", "distribution"),
    [
        ("amltk", "CallLimiter", "amltk-call-limiter"),
        ("amltk", "PynisherPlugin", "amltk-pynisher"),
        ("amltk", "Retry", "amltk-retry"),
        ("amltk", "Timeout", "amltk-timeout"),
        ("amltk.scheduling", "SequentialExecutor", "amltk-sequential"),
    ],
)
def test_what_is_offered_asks_for_its_distribution_where_that_is_missing(site, module, name, distribution):
    package = distribution.replace("-", "_")
    printed = site.run(f"""
        import sys

        class Nothing:  # as if the distribution were not installed
            def find_spec(self, name, path=None, target=None):
                if name == "{package}":
                    raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

        sys.meta_path.insert(0, Nothing())
        try:
            from {module} import {name}
        except ImportError as error:
            print(error)
        from {module} import *
        import {module}
        print("{name}" in dir({module}))
    """)
    assert printed.splitlines() == [
        f"{name} comes with {distribution}, which is not installed. Install it: {how_to_install(distribution)}",
        "False",
    ]


def test_dir_shows_what_is_offered_and_installed_and_loads_nothing(site):
    printed = site.run("""
        import sys
        import amltk
        import amltk.scheduling

        names = ["CallLimiter", "PynisherPlugin", "Retry", "Timeout", "Scheduler", "__version__"]
        print([name for name in names if name not in dir(amltk)])
        print("SequentialExecutor" in dir(amltk.scheduling))
        print([module for module in sys.modules if module.startswith("amltk_") or module == "pluggy"])
        dir(amltk.Scheduler)
        print([module for module in sys.modules if module.startswith("amltk_")])
    """)
    assert printed.splitlines() == ["[]", "True", "[]", "[]"]


def test_dir_shows_no_folder_that_is_only_named_like_what_is_offered(site):
    printed = site.run("""
        import importlib.machinery
        import sys

        class Nothing:  # as if the distribution were not installed
            def find_spec(self, name, path=None, target=None):
                if name == "amltk_retry":
                    return importlib.machinery.ModuleSpec(name, None, is_package=True)  # as of a folder without code

        sys.meta_path.insert(0, Nothing())
        import amltk
        print("Retry" in dir(amltk), "Timeout" in dir(amltk))
        sys.modules["amltk_timeout"] = None  # as some tests do
        print("Timeout" in dir(amltk))
    """)
    assert printed.splitlines() == ["False True", "False"]


def test_completion_of_a_prompt_shows_what_is_installed(site, stranger):
    printed = site.run("""
        import rlcompleter
        import amltk

        completer = rlcompleter.Completer({"amltk": amltk, "scheduler": amltk.Scheduler.with_sequential()})
        for text in ["amltk.R", "amltk.Ti", "amltk.Scheduler.with_go", "scheduler.on_fi"]:
            print([match.rstrip("(") for match in completer.attr_matches(text)])
    """)
    assert printed.splitlines() == [
        "['amltk.Refusal', 'amltk.Requeue', 'amltk.Retry']",
        "['amltk.Timeout']",
        "['amltk.Scheduler.with_good']",
        "['scheduler.on_finished', 'scheduler.on_finishing']",
    ]


def test_what_is_offered_and_broken_is_not_called_missing(site):
    site.add("amltk-call-limiter", "import nowhere_at_all", task_plugins="call-limiter")
    printed = site.run("""
        try:
            from amltk import CallLimiter
        except ImportError as error:
            print(error)
    """)
    assert printed.strip() == "No module named 'nowhere_at_all'"


def test_what_is_offered_is_the_class_itself(site):
    printed = site.run("""
        from amltk.scheduling import SequentialExecutor
        import amltk_sequential
        print(SequentialExecutor is amltk_sequential.SequentialExecutor)
    """)
    assert printed.strip() == "True"


# The hooks themselves


def hooks() -> list[str]:
    return [name for name in vars(hookspecs) if name.startswith("amltk_")]


def test_each_hook_has_a_test():
    tests = [name for name in globals() if name.startswith("test_")]
    assert [hook for hook in hooks() if f"test_{hook}" not in tests] == []


def test_each_hook_is_documented_and_called_by_somebody():
    core = Path(amltk.__file__).parent
    source = "".join(path.read_text(encoding="utf-8") for path in core.rglob("*.py") if path.name != "hookspecs.py")

    def signature(function):
        return list(map(str, inspect.signature(function).parameters.values()))

    for hook in hooks():
        assert getattr(hookspecs, hook).__doc__
        assert hook in hookspecs.__doc__
        assert signature(getattr(Hooks, hook)) == ["self", *signature(getattr(hookspecs, hook))]
        assert re.search(rf"(hooks|= self)\.{hook}\b", source)
