"""Builds every distribution and installs it where no checkout is: `tox -e packaging`.

Ours come from what was just built, everything else from a folder filled beforehand, and the installation itself asks no
index: an index has another project by the name of `amltk`.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tarfile
import tomllib
from pathlib import Path
from zipfile import ZipFile

import pytest

pytestmark = [pytest.mark.packaging, pytest.mark.timeout(300)]

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = [ROOT, *sorted(path.parent for path in ROOT.glob("amltk_*/**/pyproject.toml"))]
PYPROJECTS = {folder: tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8")) for folder in FOLDERS}

CORE_ALONE = """
from concurrent.futures import ThreadPoolExecutor

import amltk
from amltk import Scheduler

with ThreadPoolExecutor(2) as executor:
    scheduler = Scheduler(executor=executor)
    task = scheduler.task(pow)
    scheduler.on_start(lambda: task(2, 5))
    task.on_result(lambda _, value: print("result", value))
    print(scheduler.run().code.name)
print(amltk.__file__)
try:
    Scheduler.with_loky()
except ImportError as error:
    print(error)
"""

OUT_OF_THE_BOX = """
from amltk import CallLimiter, Scheduler

for name in ("processes", "threads", "sequential"):
    scheduler = Scheduler.with_backend(name)
    task = scheduler.task(lambda x: x * 2, plugins=CallLimiter(max_calls=1))
    scheduler.on_start(lambda: print(name, "refused", [task(21), task(22)][1]))
    task.on_result(lambda _, value: print(name, "result", value))
    scheduler.run()
"""

WITH_PYNISHER = """
from amltk import PynisherPlugin, Scheduler

scheduler = Scheduler.with_processes(1)
task = scheduler.task(lambda x: x * 2, plugins=PynisherPlugin(walltime_limit=20))
scheduler.on_start(lambda: task(21))
task.on_result(lambda _, value: print("result", value))
scheduler.run()
"""


def run(*command: str | Path, cwd: Path) -> str:
    """Run a command as somebody would who has neither this checkout nor its environment; return what it prints."""
    ours = ("PYTHON", "PIP_TARGET", "PIP_USER", "VIRTUAL_ENV", "AMLTK")
    environ = {key: value for key, value in os.environ.items() if not key.startswith(ours)}
    done = subprocess.run(command, cwd=cwd, env=environ, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def environment(folder: Path) -> Path:
    """Make an environment with nothing but pip; return its Python."""
    run(sys.executable, "-m", "venv", folder / "env", cwd=folder)
    return folder / "env" / "bin" / "python"


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Path:
    """A folder with the sdist of each distribution, and with the wheel that was made from that sdist."""
    out = tmp_path_factory.mktemp("built")
    for folder in FOLDERS:
        run(sys.executable, "-m", "build", "--no-isolation", "--outdir", out, folder, cwd=out)
    return out


@pytest.fixture(scope="module")
def others(tmp_path_factory) -> Path:
    """A folder with a wheel of everything that ours need of others."""
    work = tmp_path_factory.mktemp("others")
    needs = {need for pyproject in PYPROJECTS.values() for need in pyproject["project"]["dependencies"]}
    third_party = sorted(need for need in needs if not need.startswith("amltk"))
    run(environment(work), "-m", "pip", "wheel", "-qq", "--wheel-dir", work / "wheels", *third_party, cwd=work)
    return work / "wheels"


def archive(built: Path, folder: Path, pattern: str) -> Path:
    project = PYPROJECTS[folder]["project"]
    (found,) = built.glob(pattern.format(f"{project['name'].replace('-', '_')}-{project['version']}"))
    return found


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_wheel_holds_what_it_should(built, folder):
    with ZipFile(archive(built, folder, "{}-*.whl")) as wheel:
        names = wheel.namelist()
        (metadata,) = [name for name in names if name.endswith(".dist-info/METADATA")]
        assert PYPROJECTS[folder]["project"]["description"] in wheel.read(metadata).decode()
    assert [name for name in names if name.endswith(".dist-info/licenses/LICENSE")]
    tops = {name.split("/")[0] for name in names if ".dist-info/" not in name}
    if folder == ROOT:
        assert tops == set()
    else:
        package = "amltk" if folder.name == "amltk_core" else folder.name.replace("-", "_")
        assert tops == {package}
        assert f"{package}/py.typed" in names
        assert not [name for name in names if re.search(r"(^|/)(tests|test_\w+\.py|conftest\.py)", name)]


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_sdist_holds_what_it_should(built, folder):
    with tarfile.open(archive(built, folder, "{}.tar.gz")) as sdist:
        names = {name.partition("/")[2] for name in sdist.getnames()}
    assert {"LICENSE", "README.md", "pyproject.toml"} <= names
    if folder == ROOT:
        assert not [name for name in names if name.startswith("amltk")]


def test_core_alone(built, others, tmp_path):
    python = environment(tmp_path)
    run(python, "-m", "pip", "install", "-qq", "--no-index", "-f", built, "-f", others, "amltk-core", cwd=tmp_path)
    (tmp_path / "script.py").write_text(CORE_ALONE)
    result, code, place, *error = run(python, "script.py", cwd=tmp_path).splitlines()
    assert (result, code) == ("result 32", "EXHAUSTED")
    assert Path(place).is_relative_to(tmp_path)
    assert "pip install amltk-loky" in "\n".join(error)
    assert run(tmp_path / "env" / "bin" / "amltk", "--version", cwd=tmp_path).strip().endswith("0.1.0")


def test_umbrella_works_out_of_the_box(built, others, tmp_path):
    python = environment(tmp_path)
    install = [python, "-m", "pip", "install", "-qq", "--no-index", "-f", built, "-f", others]
    run(*install, "amltk", cwd=tmp_path)
    (tmp_path / "script.py").write_text(OUT_OF_THE_BOX)
    expected = [
        f"{name} {line}" for name in ("processes", "threads", "sequential") for line in ("refused None", "result 42")
    ]
    assert run(python, "script.py", cwd=tmp_path).splitlines() == expected

    run(*install, "amltk[all]", cwd=tmp_path)
    (tmp_path / "script.py").write_text(WITH_PYNISHER)
    assert run(python, "script.py", cwd=tmp_path) == "result 42\n"
    run(python, "-m", "pip", "check", cwd=tmp_path)


def test_what_the_readme_says_installs_ours_from_the_checkout(tmp_path):
    (command,) = re.findall(r"^    pip (install .*)$", (ROOT / "README.md").read_text(encoding="utf-8"), re.MULTILINE)
    report = tmp_path / "report.json"
    pip = [environment(tmp_path), "-m", "pip"]
    run(*pip, *command.split(), "./amltk_plugins/amltk-pynisher", "-qq", "--dry-run", "--report", report, cwd=ROOT)
    found = {
        entry["metadata"]["name"]: entry["download_info"]["url"]
        for entry in json.loads(report.read_text(encoding="utf-8"))["install"]
    }
    ours = {PYPROJECTS[folder]["project"]["name"]: folder.as_uri() for folder in FOLDERS}
    assert {name: url for name, url in found.items() if name.startswith("amltk")} == ours
    assert {"pluggy", "rich"} <= set(found)
