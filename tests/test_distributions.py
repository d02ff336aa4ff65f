"""Holds the distributions to one shape, and the places that list them to the folders that are there."""

from __future__ import annotations

import json
import re
import tomllib
from importlib.metadata import distribution
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
UMBRELLA = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
FOLDERS = sorted(path.parent for path in ROOT.glob("amltk_*/**/pyproject.toml"))
PYPROJECTS = {folder: tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8")) for folder in FOLDERS}
NAMES = {pyproject["project"]["name"] for pyproject in PYPROJECTS.values()}

each = pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)


def names_of(requirements: list[str]) -> set[str]:
    return {re.split(r"[^\w-]", requirement)[0] for requirement in requirements}


@each
def test_shape(folder):
    project = PYPROJECTS[folder]["project"]
    package = "amltk" if folder.name == "amltk_core" else folder.name.replace("-", "_")
    assert project["name"] == folder.name.replace("_", "-")
    assert (folder / "src" / package / "py.typed").exists()
    assert (folder / "LICENSE").read_text() == (ROOT / "LICENSE").read_text(), "a wheel takes no outside file"
    assert (folder / "README.md").read_text().startswith(f"# {project['name']}\n")
    assert list((folder / "tests").glob("test_*.py"))


@each
def test_ours_go_together(folder):
    project, umbrella = PYPROJECTS[folder]["project"], UMBRELLA["project"]
    for key in ("version", "license", "license-files", "requires-python", "authors"):
        assert project[key] == umbrella[key]
    minor = ".".join(umbrella["version"].split(".")[:2])
    ours = [need for need in project["dependencies"] if need.startswith("amltk")]
    assert all(need.endswith(f"~={minor}.0") for need in ours)
    assert folder.name == "amltk_core" or "amltk-core" in names_of(ours)


@each
def test_no_distribution_needs_the_umbrella(folder):
    """An index has another project by that name: to need it could bring that one in."""
    assert "amltk" not in names_of(PYPROJECTS[folder]["project"]["dependencies"])


@each
def test_a_plugin_registers_under_its_own_name(folder):
    if folder.name in {"amltk_core", "amltk-dask-jobqueue"}:  # which others build on
        return
    expected = {folder.name.removeprefix("amltk-"): f"{folder.name.replace('-', '_')}.plugin"}
    assert PYPROJECTS[folder]["project"]["entry-points"]["amltk"] == expected


def test_the_umbrella_and_its_extras_name_everything():
    project = UMBRELLA["project"]
    extras = project["optional-dependencies"]
    out_of_the_box = names_of(project["dependencies"])
    added = NAMES - out_of_the_box
    assert names_of(extras["all"]) == added
    assert {extra: names_of(needs) for extra, needs in extras.items() if extra != "all"} == {
        name.removeprefix("amltk-"): {name} for name in added
    }


def test_uv_and_tox_take_all_of_ours_from_their_folders():
    assert UMBRELLA["tool"]["uv"]["sources"] == {name: {"workspace": True} for name in NAMES}
    edited = re.findall(r"^ *-e (\S+)$", (ROOT / "tox.ini").read_text(), re.MULTILINE)
    assert sorted(edited) == sorted([".[all]", *(str(folder.relative_to(ROOT)) for folder in FOLDERS)])


def test_what_the_tests_test_is_this_checkout():
    """And no other project of the same name, wherever that could have come from."""
    for name, folder in {"amltk": ROOT, **{p["project"]["name"]: f for f, p in PYPROJECTS.items()}}.items():
        origin = distribution(name).read_text("direct_url.json")
        assert origin, f"{name} is not installed from a folder"
        assert json.loads(origin)["url"] == folder.as_uri()
