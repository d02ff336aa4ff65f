"""The command `amltk`, as its users call it."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import textwrap
from functools import partial
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace

import pytest

from amltk import cli
from amltk.plugins import listing
from amltk.plugins.catalog import KNOWN_BACKENDS, KNOWN_TASK_PLUGINS

FIELDS = ["name", "status", "distribution", "version", "summary", "reason"]


@pytest.fixture
def amltk(tmp_path, monkeypatch):
    """Call the command in a process of its own; `install` what it finds there first."""
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.delenv("FORCE_COLOR", raising=False)

    def run(*args: str, **env: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "amltk", *args]
        return subprocess.run(command, capture_output=True, text=True, timeout=30, env=os.environ | env, check=False)

    return run


def install(
    site: Path, distribution: str, name: str, code: str, group: str = "amltk.backends", within: str = ""
) -> None:
    """Lay out an installed distribution with one plugin module."""
    module = distribution.replace("-", "_")
    (site / f"{module}.py").write_text(textwrap.dedent(code), encoding="utf-8")
    info = site / f"{module}-1.2.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.2\n", encoding="utf-8")
    (info / "entry_points.txt").write_text(f"[{group}]\n{name} = {module}{within}\n", encoding="utf-8")


GOOD = """
    from concurrent.futures import ThreadPoolExecutor
    from amltk.backend import Backend, Capabilities

    print("a plugin that talks when it is imported")

    class Good(Backend):
        name = "good"
        summary = "Good [red]for[/red] all."
        capabilities = Capabilities(crosses_machines=True)

        def open(self):
            return ThreadPoolExecutor()
"""
PLUGIN = '''
    from amltk import TaskPlugin

    class Fair(TaskPlugin):
        """Is fair."""

        name = "fair"
'''


def rows_of(table: str) -> dict[str, str]:
    return {line.split()[0]: line for line in table.splitlines()}


def test_backends_are_listed_with_what_became_of_them(amltk, tmp_path):
    install(tmp_path, "somebodys-good", "good", GOOD, within=":Good")
    install(tmp_path, "somebodys-bad", "bad", "import a_library_that_is_missing")
    install(tmp_path, "somebodys-off", "off", "raise SystemExit('loaded though disabled')")
    done = amltk("backends", AMLTK_DISABLE_PLUGINS="off")
    assert (done.returncode, done.stderr) == (0, "a plugin that talks when it is imported\n")
    rows = rows_of(done.stdout)
    assert rows["NAME"].split() == ["NAME", "STATUS", "DISTRIBUTION", "ABOUT"]
    assert re.fullmatch(r"good +ready +somebodys-good 1\.2 +Good \[red\]for\[/red\] all\.", rows["good"])
    assert re.fullmatch(
        r"bad +broken +somebodys-bad 1\.2 +ModuleNotFoundError: No module named 'a_library_that_is_missing'",
        rows["bad"],
    )
    assert re.fullmatch(r"off +disabled +somebodys-off 1\.2 +AMLTK_DISABLE_PLUGINS lists it", rows["off"])
    for name, distribution in KNOWN_BACKENDS.items():
        assert re.fullmatch(rf"{name} +(ready|not installed) +{distribution}.*", rows[name])
    assert not re.search(r" +$|\x1b", done.stdout, re.MULTILINE)


def test_plugins_are_listed_with_what_became_of_them(amltk, tmp_path):
    install(tmp_path, "somebodys-fair", "fair", PLUGIN, group="amltk.task_plugins", within=":Fair")
    install(tmp_path, "somebodys-eye", "eye", "1 / 0", group="amltk.observers")
    rows = rows_of(amltk("plugins").stdout)
    assert re.fullmatch(r"fair +ready +somebodys-fair 1\.2 +Is fair\.", rows["fair"])
    assert re.fullmatch(r"eye +broken +somebodys-eye 1\.2 +ZeroDivisionError: division by zero", rows["eye"])
    assert set(KNOWN_TASK_PLUGINS) <= set(rows)


def test_json_is_for_programs(amltk, tmp_path):
    install(tmp_path, "somebodys-good", "good", GOOD, within=":Good")
    install(tmp_path, "somebodys-bad", "bad", "1 / 0")
    install(tmp_path, "somebodys-fair", "fair", PLUGIN, group="amltk.task_plugins", within=":Fair")
    backends = {row["name"]: row for row in json.loads(amltk("backends", "--json").stdout)}
    assert backends["good"] == {
        "name": "good",
        "status": "ready",
        "distribution": "somebodys-good",
        "version": "1.2",
        "summary": "Good [red]for[/red] all.",
        "reason": "",
        "capabilities": {
            "stops_running_work": False,
            "survives_dead_worker": False,
            "needs_pickling": False,
            "crosses_machines": True,
            "takes_any_function": False,
            "carries_any_exception": False,
            "blocks_the_run": False,
            "accepts_options": [],
            "reports_execution": False,
            "carries_messages": False,
            "shares_objects": False,
        },
    }
    assert (backends["bad"]["reason"], backends["bad"]["capabilities"]) == ("ZeroDivisionError: division by zero", None)
    task_plugins = {row["name"]: row for row in json.loads(amltk("plugins", "--json").stdout)}
    assert list(task_plugins["fair"]) == FIELDS
    assert task_plugins["fair"]["summary"] == "Is fair."


def test_the_version_is_that_of_the_core(amltk):
    done = amltk("--version")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"amltk-core {version('amltk-core')}\n", "")


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ([], "a command is missing. Commands: backends, plugins, doctor"),
        (["--json"], "unrecognized arguments: --json"),
        (
            ["backend"],
            "there is no command 'backend'. Did you mean 'backends'? Commands: backends, plugins, doctor",
        ),
        (["x"], "there is no command 'x'. Commands: backends, plugins, doctor"),
        (["plugins", "--jsn"], "unrecognized arguments: --jsn"),
        (["plugins", "all"], "unrecognized arguments: all"),
    ],
)
def test_wrong_usage_is_said_in_a_line(amltk, args, message):
    done = amltk(*args, AMLTK_DISABLE_PLUGINS="airflow,new")  # which add commands
    assert (done.returncode, done.stdout) == (2, "")
    usage, *_, error = done.stderr.splitlines()
    assert usage.startswith("usage: amltk")
    assert error.startswith("amltk")
    assert error.endswith(message)


def test_help_names_the_commands(amltk):
    done = amltk("--help")
    assert done.returncode == 0
    assert re.search(r"backends +\w.*\n.*plugins +\w", done.stdout, re.DOTALL)


@pytest.mark.parametrize(
    ("args", "unloaded"),
    [
        (["--version"], {"amltk.plugins", "pluggy", "rich"}),
        (["backends", "--json"], {"rich", "amltk_call_limiter", "concurrent.futures.process"}),
        (["plugins", "--json"], {"rich", "amltk_processes", "amltk_threads"}),
    ],
)
def test_nothing_is_loaded_that_is_not_needed(args, unloaded):
    code = (
        f"import sys; from amltk.cli import main; main({args}); sys.exit(str({unloaded} & set(sys.modules) or '') or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.fixture(params=["", "1"], ids=["buffered", "unbuffered"])
def buffering(request, monkeypatch):
    monkeypatch.setenv("PYTHONUNBUFFERED", request.param)


@pytest.mark.usefixtures("buffering")
@pytest.mark.parametrize("args", [["backends"], ["backends", "--json"], ["--version"]])
def test_a_reader_that_has_gone_is_no_error(args):
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "amltk", *args]
    done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, timeout=30, check=False)
    os.close(writer)
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.usefixtures("buffering")
def test_output_that_is_lost_is_an_error():
    with Path("/dev/full").open("w") as full:
        command = [sys.executable, "-m", "amltk", "backends"]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, timeout=30, check=False)
    assert done.returncode == 1
    assert done.stderr == "amltk: error: the output can't be written: No space left on device\n"


# Sleeps in turns: a signal that comes just before one begins is handled when that has ended.
SLOW = "import time; print('loading', flush=True); [time.sleep(0.1) for _ in range(300)]"


def test_ctrl_c_ends_it_without_a_word(amltk, tmp_path):
    install(tmp_path, "somebodys-slow", "slow", SLOW)
    command = [sys.executable, "-m", "amltk", "backends"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr.readline() == "loading\n"
        process.send_signal(signal.SIGINT)
        out, errors = process.communicate(timeout=30)
    assert (process.returncode, out, errors) == (130, "", "")


def test_main_can_be_called_from_a_program(capsys):
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("amltk-core ")


@pytest.mark.parametrize("width", [30, 80, 200])
def test_a_terminal_cuts_no_word(monkeypatch, capsys, width):
    rich = pytest.importorskip("rich.console")
    reason = "Some words that say why it can not be used: a-very-long-word"
    row = listing.Listing("a-name", "broken", "somebodys-distribution", "1.2", reason=reason)
    monkeypatch.setattr(listing, "list_plugins", lambda: [row])
    terminal = partial(rich.Console, force_terminal=True, color_system=None)
    monkeypatch.setattr("amltk.display.table.Console", terminal)
    monkeypatch.setenv("COLUMNS", str(width))
    cli.main(["plugins"])
    out = capsys.readouterr().out
    words = ["a-name", "broken", "somebodys-distribution", "1.2", *reason.split()]
    assert sorted(out.split()) == sorted(["NAME", "STATUS", "DISTRIBUTION", "ABOUT", *words])
    assert max(map(len, out.splitlines())) <= max(width, 70)


COMMAND = """
    import sys

    def main(argv):
        print("called with", argv, file=sys.stdout)
        return len(argv)
"""


def install_command(site: Path, distribution: str, name: str, code: str = COMMAND) -> None:
    install(site, distribution, name, code, "amltk.commands", ":main")


def test_a_command_of_a_distribution(amltk, tmp_path):
    install_command(tmp_path, "amltk-strange", "strange")
    done = amltk("strange", "one", "--two=3", "--help")
    assert (done.returncode, done.stdout, done.stderr) == (3, "called with ['one', '--two=3', '--help']\n", "")
    assert "Installed distributions add: " in amltk("--help").stdout
    assert "strange" in amltk("--help").stdout
    misspelled = amltk("strangr")
    assert misspelled.returncode == 2
    assert "Did you mean 'strange'?" in misspelled.stderr


def test_a_command_of_a_distribution_is_loaded_only_if_it_is_called(amltk, tmp_path):
    install_command(tmp_path, "amltk-strange", "strange", "raise SystemExit('loaded')")
    assert amltk("backends").returncode == 0
    done = amltk("strange")
    assert done.returncode == 2
    assert "The command 'strange' of amltk-strange 1.2 is broken: SystemExit: loaded" in done.stderr


def test_a_command_that_two_distributions_bring(amltk, tmp_path):
    install_command(tmp_path, "amltk-one", "strange")
    install_command(tmp_path, "amltk-two", "strange")
    done = amltk("strange")
    assert done.returncode == 2
    assert "amltk-one 1.2 and amltk-two 1.2 both bring it; keep one: pip uninstall amltk-one" in done.stderr


def test_a_command_of_a_distribution_can_be_disabled(amltk, tmp_path):
    install_command(tmp_path, "amltk-strange", "strange")
    done = amltk("strange", AMLTK_DISABLE_PLUGINS="strange")
    assert done.returncode == 2
    assert "there is no command 'strange'" in done.stderr


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("new", "'new' comes with amltk-testing, which is not installed. Install it: pip install ./amltk_plugins/"),
        ("airflow", "'airflow' comes with amltk-airflow, which is not installed. Install it: pip install ./amltk_back"),
        ("nwe", "there is no command 'nwe'. Did you mean 'new'? Commands: backends, plugins, doctor"),
    ],
)
def test_a_command_that_is_not_installed_is_said_to_be_that(monkeypatch, capsys, word, said):
    nothing = SimpleNamespace(installed=lambda _: {}, command_names=list)
    monkeypatch.setattr("amltk.plugins.plugin_manager", lambda: nothing)
    with pytest.raises(SystemExit) as end:
        cli.main([word, "backend", "mine", "--into", "there"])
    assert end.value.code == 2
    assert said in capsys.readouterr().err


def test_a_command_that_is_installed_and_disabled_is_not_said_to_be_missing(amltk):
    done = amltk("new", AMLTK_DISABLE_PLUGINS="new")
    assert done.returncode == 2
    assert "there is no command 'new'. Commands:" in done.stderr


def test_a_command_of_amltk_can_not_be_replaced(amltk, tmp_path):
    install_command(tmp_path, "amltk-strange", "backends")
    assert "called with" not in amltk("backends").stdout
