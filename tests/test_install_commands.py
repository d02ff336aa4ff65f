"""The commands that amltk prints to install what is missing: they have to work in a clone of it."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from amltk.plugins.catalog import KNOWN_BACKENDS, KNOWN_TASK_PLUGINS, how_to_install, is_ours

ROOT = Path(__file__).parents[1]
FOLDERS = sorted([*ROOT.glob("amltk_backends/*/pyproject.toml"), *ROOT.glob("amltk_plugins/*/pyproject.toml")])
# The clone comes first on these pages, and in what a stranger publishes the name is right.
LINE = re.compile(r"""pip install (?:-\S+ )*['"]?amltk""")


def project(path):
    return tomllib.loads(path.read_text(encoding="utf-8"))["project"]


def ours_in(folder):
    """Return the folders of what a distribution needs of this project, the core left out, and its own."""
    names = [re.match(r"[\w-]+", need)[0] for need in project(ROOT / folder / "pyproject.toml")["dependencies"]]
    found = {folder.as_posix()}
    for name in names:
        if name.startswith("amltk-") and name != "amltk-core":
            (path,) = [path for path in FOLDERS if project(path)["name"] == name]
            found |= ours_in(path.parent.relative_to(ROOT))
    return found


@pytest.mark.parametrize("path", FOLDERS, ids=lambda path: path.parent.name)
def test_it_names_the_folder_of_a_distribution_and_of_all_that_it_needs_of_ours(path):
    name = project(path)["name"]
    assert is_ours(name)
    assert is_ours(name.replace("-", "_").title())
    command, _, where = how_to_install(name).partition(" (")
    assert where == "in a clone of amltk)"
    pip, install, *folders = command.split()
    assert (pip, install) == ("pip", "install")
    assert {folder.removeprefix("./") for folder in folders} == ours_in(path.parent.relative_to(ROOT))
    assert folders[-1] == f"./{path.parent.relative_to(ROOT).as_posix()}"
    assert how_to_install(name, elsewhere=True).startswith("pip install ./amltk_core ./amltk_")


def test_of_the_core_and_the_umbrella():
    assert how_to_install("amltk-core") == "pip install ./amltk_core (in a clone of amltk)"
    assert how_to_install("amltk").startswith("pip install . ")


def test_what_is_somebody_elses_is_not_ours():
    assert not any(map(is_ours, ["dask", "amltk-quantum", "amltk-something"]))
    assert {*KNOWN_BACKENDS.values(), *KNOWN_TASK_PLUGINS.values()} <= {project(path)["name"] for path in FOLDERS}


def test_nothing_here_says_to_install_it_by_name():
    texts = [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("amltk_*/**/README.md"), *ROOT.glob("examples/*")]
    texts += [path for path in ROOT.glob("amltk_*/**/src/**/*") if path.suffix in {".py", ".in", ".md"}]
    texts += list(ROOT.glob("amltk_core/src/**/*.py")) + list(ROOT.glob("amltk_core/src/**/*.in"))
    found = [
        f"{path.relative_to(ROOT)}: {line.strip()}"
        for path in texts
        if path.is_file() and ".venv" not in path.parts
        for line in path.read_text(encoding="utf-8").split("\n")
        if LINE.search(line) and "`pip install amltk` by name" not in line
    ]
    assert found == []
