"""`amltk new`: which names and folders it takes, and what it writes. `tests/test_packaging.py` installs that."""

from __future__ import annotations

import ast
import configparser
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from amltk import cli
from amltk_testing.scaffold import ScaffoldError, write
from amltk_testing.scaffold.names import MAX_LENGTH

FILES = [
    ".github/workflows/ci.yml",
    ".gitignore",
    "LICENSE",
    "README.md",
    "pyproject.toml",
    "src/amltk_my_own/__init__.py",
    "src/amltk_my_own/plugin.py",
    "src/amltk_my_own/py.typed",
    "tests/test_my_own.py",
    "tox.ini",
]

both = pytest.mark.parametrize(("kind", "name"), [("backend", "my_own"), ("plugin", "my-own")])


def paths(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def text(folder: Path) -> str:
    return "\n".join((folder / path).read_text(encoding="utf-8") for path in paths(folder))


# What is written


@both
def test_a_complete_distribution_is_written(tmp_path, kind, name):
    said = write(kind, name, tmp_path / "there")
    assert paths(tmp_path / "there") == FILES
    for path in FILES:
        assert f"\n  {path}\n" in said
    project = tomllib.loads((tmp_path / "there" / "pyproject.toml").read_text())["project"]
    assert project["name"] == "amltk-my-own"
    group, value = {
        "backend": ("amltk.backends", "amltk_my_own.plugin:MyOwn"),
        "plugin": ("amltk.task_plugins", "amltk_my_own.plugin:MyOwnPlugin"),
    }[kind]
    assert project["entry-points"] == {group: {name: value}}
    assert project["optional-dependencies"] == {"test": ["amltk-testing"]}
    assert "`pip install ./amltk_core ./amltk_plugins/amltk-testing (in a clone of amltk)`" in text(tmp_path / "there")
    assert configparser.ConfigParser().read(tmp_path / "there" / "tox.ini")


@both
def test_nothing_of_a_template_is_left(tmp_path, kind, name):
    write(kind, name, tmp_path)
    assert not re.findall(r"(?i)newname|@[a-z]+@", text(tmp_path))


@both
@pytest.mark.parametrize("length", [1, MAX_LENGTH])
def test_its_lines_are_short_enough_whatever_its_name_is(tmp_path, kind, name, length):
    write(kind, "x" * length, tmp_path)
    for path in tmp_path.rglob("*.py"):
        ast.parse(path.read_text())
        assert max(map(len, path.read_text().splitlines())) <= 120


def test_the_backend_takes_at_most_30_lines_of_python(tmp_path):
    write("backend", "my_own", tmp_path)
    lines = [line for path in (tmp_path / "src").rglob("*.py") for line in path.read_text().splitlines() if line]
    assert len(lines) <= 30


@both
def test_it_says_for_which_contract_it_was_made(tmp_path, kind, name):
    write(kind, name, tmp_path)
    assert "\nAMLTK_CONTRACT = 1\n" in (tmp_path / "src" / "amltk_my_own" / "plugin.py").read_text()


def test_the_backend_works_as_it_is(tmp_path, site):
    write("backend", "my_own", tmp_path / "made")
    site.add("amltk-my-own", None, backends="my_own = amltk_my_own.plugin:MyOwn")
    code = """
        from amltk import Scheduler
        scheduler = Scheduler.with_my_own(max_workers=2)
        scheduler.on_start(lambda: scheduler.submit(pow, 2, 5))
        scheduler.on_future_result(lambda _, result: print(result))
        scheduler.run()
        try:
            Scheduler.with_my_own(0)
        except ValueError as error:
            print(error)
    """
    done = site.run(code, PYTHONPATH=f"{site.folder}{os.pathsep}{tmp_path / 'made' / 'src'}")
    assert done == "32\nmax_workers must be an integer of at least 1, got 0.\n"


def test_the_plugin_works_as_it_is(tmp_path, site):
    write("plugin", "my-own", tmp_path / "made")
    (block,) = re.findall(
        r"^```python\n(.*?)^```$", (tmp_path / "made" / "README.md").read_text(), re.MULTILINE | re.DOTALL
    )
    done = site.run(block, PYTHONPATH=str(tmp_path / "made" / "src"))
    assert done == "(2, 6) was refused\n32\n"


# Names


@pytest.mark.parametrize(
    ("kind", "name", "said"),
    [
        ("backend", "Fast", "'Fast' can't be the name of a backend. .* How about 'fast'"),
        ("backend", "my-own", "How about 'my_own'"),
        ("backend", "my__own", "How about 'my_own'"),
        ("backend", "own_", "How about 'own'"),
        ("backend", "9to5", "How about 'to5'"),
        ("backend", "amltk-own", "How about 'own'"),
        ("backend", "../own", "How about 'own'"),
        ("backend", "größe", "can't be the name"),
        ("backend", "", "'' can't be the name of a backend"),
        ("backend", "own\n", "can't be the name"),
        ("backend", "x" * 41, "has 41 characters; the name of a backend has 40 at most"),
        ("plugin", "my_own", "'my_own' can't be the name of a task plugin. .* How about 'my-own'"),
        ("backend", "threads", "'threads' is taken: amltk-threads is a distribution of amltk's own"),
        ("backend", "airflow", "amltk-airflow is a distribution of amltk's own"),
        ("backend", "core", "amltk-core is a distribution of amltk's own"),
        ("backend", "testing", "amltk-testing is a distribution of amltk's own"),
        ("backend", "call_limiter", "amltk-call-limiter is a distribution of amltk's own"),
        ("backend", "backend", "Scheduler.with_backend is a method of amltk's own"),
        ("plugin", "task", "amltk.TaskPlugin is a class of amltk's own"),
    ],
)
def test_a_name_that_cannot_be_is_refused(tmp_path, kind, name, said):
    with pytest.raises(ScaffoldError, match=said):
        write(kind, name, tmp_path / "there")
    assert not (tmp_path / "there").exists()


@pytest.mark.parametrize(("kind", "name"), [("backend", "their_own"), ("plugin", "their-own")])
@pytest.mark.parametrize("separator", ["-", "_"])
def test_a_name_that_an_installed_distribution_brings_is_refused(tmp_path, site, kind, name, separator):
    site.add("somebodys-thing", "", backends=f"their{separator}own")
    with pytest.raises(ScaffoldError, match=r"is taken: somebodys-thing, which is installed, brings 'their[-_]own'\."):
        write(kind, name, tmp_path / "there")


def test_a_name_whose_distribution_is_installed_is_refused(tmp_path, site):
    site.add("Amltk_Own", "", backends="")
    with pytest.raises(ScaffoldError, match=r"'own' is taken: the distribution Amltk_Own is installed"):
        write("backend", "own", tmp_path / "there")


def test_a_name_whose_package_is_there_is_refused(tmp_path, site):
    (site.folder / "amltk_own.py").touch()
    with pytest.raises(ScaffoldError, match="there is a package amltk_own to be imported"):
        write("backend", "own", tmp_path / "there")


# Folders


def test_without_a_folder_it_is_written_below_the_current_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    said = write("backend", "my_own")
    assert paths(tmp_path / "amltk-my-own") == FILES
    assert "\n  cd amltk-my-own\n" in said


@pytest.mark.parametrize("there", ["", "deep/down"])
def test_an_empty_or_absent_folder_will_do(tmp_path, there):
    (tmp_path / ".git").mkdir()  # a repository just begun is an empty folder, too
    write("backend", "my_own", tmp_path / there)
    assert paths(tmp_path / there) == FILES


def test_a_folder_that_holds_something_is_left_alone(tmp_path):
    (tmp_path / "README.md").write_text("mine")
    with pytest.raises(ScaffoldError, match=r"is not empty: it holds README\.md\. Name a folder that is empty"):
        write("backend", "my_own", tmp_path)
    assert text(tmp_path) == "mine"


@pytest.mark.parametrize("make", [Path.touch, lambda path: path.symlink_to("nowhere")])
def test_what_is_no_folder_is_refused(tmp_path, make):
    make(tmp_path / "there")
    with pytest.raises(ScaffoldError, match="is no folder"):
        write("backend", "my_own", tmp_path / "there")


def test_what_cannot_be_written_is_said_with_its_path(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ScaffoldError, match=r"file.* can't be written: Not a directory"):
        write("backend", "my_own", tmp_path / "file" / "there")


# The command


def test_the_command_writes_and_says_what(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["new", "backend", "my_own"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("Wrote amltk-my-own to amltk-my-own:\n  pyproject.toml\n")
    assert out.endswith("\n  pytest\n  amltk doctor my_own\n")
    assert cli.main(["new", "plugin", "their-own", "--into", "a place"]) == 0
    assert "\n  cd 'a place'\n" in capsys.readouterr().out


def test_the_command_ends_with_2_and_a_line_when_it_cannot(tmp_path, capsys):
    assert cli.main(["new", "backend", "threads", "--into", str(tmp_path / "there")]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert re.fullmatch(r"amltk new: error: 'threads' is taken: .*\n", captured.err)


@pytest.mark.parametrize("args", [[], ["backend"], ["executor", "own"]])
def test_a_wrong_command_line_is_refused(args):
    done = subprocess.run([sys.executable, "-m", "amltk", "new", *args], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "usage: amltk new" in done.stderr
