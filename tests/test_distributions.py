"""Holds the distributions to one shape, and the places that list them to the folders that are there."""

from __future__ import annotations

import json
import re
import tomllib
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement

from amltk.plugins.catalog import KNOWN_BACKENDS, KNOWN_COMMANDS

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


def supported(project: dict[str, Any]) -> list[str]:
    found = [each.removeprefix("Programming Language :: Python ::").strip() for each in project["classifiers"]]
    return [each for each in found if re.fullmatch(r"3\.\d+", each)]


@each
def test_every_python_is_supported_for_which_its_needs_can_be_had(folder):
    project = PYPROJECTS[folder]["project"]
    versions = supported(UMBRELLA["project"])
    needs = [Requirement(need) for need in project["dependencies"]]
    assert supported(project) == [
        version
        for version in versions
        if all(need.marker.evaluate({"python_version": version}) for need in needs if need.marker)
    ]


def test_what_is_tested_and_what_new_distributions_begin_with_is_what_is_supported():
    versions = supported(UMBRELLA["project"])
    oldest = versions[0]
    assert versions == [f"3.{minor}" for minor in range(int(oldest[2:]), int(versions[-1][2:]) + 1)]
    assert UMBRELLA["project"]["requires-python"] == f">={oldest}"
    templates = ROOT / "amltk_plugins" / "amltk-testing" / "src" / "amltk_testing" / "scaffold" / "templates"
    for tox in (ROOT / "tox.ini", templates / "tox.ini.in"):
        environments = re.findall(r"\bpy3(\d+)\b", re.search(r"^env_list = (.*)$", tox.read_text(), re.MULTILINE)[1])
        assert [f"3.{minor}" for minor in environments] == versions
    assert sorted(re.findall(r"^ +(3\.\d+)$", (templates / "ci.yml.in").read_text(), re.MULTILINE)) == versions
    assert re.findall(r":: Python :: (3\.\d+)", (templates / "pyproject.toml.in").read_text()) == versions


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
    if folder.name in {"amltk_core", "amltk-dask-jobqueue", "amltk-testing"}:  # which others build on
        return
    name, package = folder.name.removeprefix("amltk-"), folder.name.replace("-", "_")
    group = "amltk.backends" if name in KNOWN_BACKENDS else "amltk.task_plugins"
    (entry,) = PYPROJECTS[folder]["project"]["entry-points"][group].items()
    assert entry[0] == name
    assert entry[1].startswith(package)


def needs_kit(project: dict[str, Any]) -> bool:
    return "amltk-testing" in names_of(project["dependencies"])


def test_only_the_kit_has_a_plugin_of_pytest():
    """pytest loads these in every run of everybody who has the distribution."""
    plugins = {folder.name: project["project"].get("entry-points", {}) for folder, project in PYPROJECTS.items()}
    assert {name: groups["pytest11"] for name, groups in plugins.items() if "pytest11" in groups} == {
        "amltk-testing": {"amltk": "amltk_testing.pytest_plugin"}
    }
    needed_by = {folder.name for folder, project in PYPROJECTS.items() if needs_kit(project["project"])}
    assert (needed_by, needs_kit(UMBRELLA["project"])) == (set(), False)


def test_known_commands_are_those_of_the_distributions():
    found = {}
    for pyproject in PYPROJECTS.values():
        project = pyproject["project"]
        found |= dict.fromkeys(project.get("entry-points", {}).get("amltk.commands", {}), project["name"])
    assert found == KNOWN_COMMANDS


def test_the_umbrella_and_its_extras_name_everything():
    project = UMBRELLA["project"]
    extras = project["optional-dependencies"]
    out_of_the_box = names_of(project["dependencies"])
    added = NAMES - out_of_the_box
    assert names_of(extras["all"]) == added - {"amltk-testing"}
    everything = [Requirement(need) for need in extras["all"]]
    for folder, pyproject in PYPROJECTS.items():
        markers = [need.marker for need in everything if need.name == pyproject["project"]["name"] and need.marker]
        taken = [v for v in supported(project) if all(each.evaluate({"python_version": v}) for each in markers)]
        assert taken == supported(pyproject["project"]), folder
    assert {extra: names_of(needs) for extra, needs in extras.items() if extra != "all"} == {
        name.removeprefix("amltk-"): {name} for name in added
    }


def test_uv_and_tox_take_all_of_ours_from_their_folders():
    assert UMBRELLA["tool"]["uv"]["sources"] == {name: {"workspace": True} for name in NAMES}
    everywhere = (ROOT / "tox.ini").read_text().partition("[testenv]")[2].partition("[testenv:")[0]
    edited = re.findall(r"^ *-e (\S+)$", everywhere, re.MULTILINE)
    assert sorted(edited) == sorted([".[all]", *(str(folder.relative_to(ROOT)) for folder in FOLDERS)])


def test_what_the_tests_test_is_this_checkout():
    """And no other project of the same name, wherever that could have come from."""
    for name, folder in {"amltk": ROOT, **{p["project"]["name"]: f for f, p in PYPROJECTS.items()}}.items():
        origin = distribution(name).read_text("direct_url.json")
        assert origin, f"{name} is not installed from a folder"
        assert json.loads(origin)["url"] == folder.as_uri()
