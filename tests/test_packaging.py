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
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
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

PYTEST_ALONE = """
import sys

def test_nothing_of_amltk_is_loaded(pytestconfig):
    plugins = {each.metadata["Name"] for _, each in pytestconfig.pluginmanager.list_plugin_distinfo()}
    assert "pytest-timeout" in plugins  # this is how installed plugins show
    assert not [name for name in plugins if name.startswith("amltk")]
    assert not [name for name in sys.modules if name.startswith("amltk")]
"""

OUT_OF_THE_BOX = """
from amltk import CallLimiter, Retry, Scheduler, Timeout

for name in ("processes", "threads", "sequential"):
    scheduler = Scheduler.with_backend(name)
    task = scheduler.task(lambda x: x * 2, plugins=[CallLimiter(max_calls=1), Retry()])
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


def run(*command: str | Path, cwd: Path, **more: str) -> str:
    """Run a command as somebody would who has neither this checkout nor its environment; return what it prints."""
    ours = ("PYTHON", "PIP_TARGET", "PIP_USER", "VIRTUAL_ENV", "AMLTK")
    environ = {key: value for key, value in os.environ.items() if not key.startswith(ours)} | more
    done = subprocess.run(command, cwd=cwd, env=environ, capture_output=True, text=True, timeout=560, check=False)
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
    with ThreadPoolExecutor(2) as executor:
        build = [sys.executable, "-m", "build", "--no-isolation", "--outdir", out]
        list(executor.map(lambda folder: run(*build, folder, cwd=out), FOLDERS))
    return out


@pytest.fixture(scope="module")
def others(tmp_path_factory) -> Path:
    """A folder with a wheel of everything that ours need of others."""
    work = tmp_path_factory.mktemp("others")
    needs = {need for pyproject in PYPROJECTS.values() for need in pyproject["project"]["dependencies"]}
    groups = PYPROJECTS[ROOT]["dependency-groups"]
    needs |= {need for group in ("build", "lint", "test", "mypy") for need in groups[group]}
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
    assert "pip install ./amltk_backends/amltk-loky" in "\n".join(error)
    scripts = tmp_path / "env" / "bin"
    assert run(scripts / "amltk", "--version", cwd=tmp_path).strip().endswith("0.1.0")
    assert "not installed" in run(scripts / "amltk", "backends", cwd=tmp_path)
    assert "not installed" in run(scripts / "amltk", "plugins", cwd=tmp_path)
    assert "No backend is installed" in run(scripts / "amltk", "doctor", cwd=tmp_path)
    new = subprocess.run(
        [scripts / "amltk", "new", "backend", "mine"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert new.returncode == 2
    assert "pip install ./amltk_plugins/amltk-testing (in a clone of amltk)" in new.stderr


def test_the_pytest_of_somebody_who_uses_amltk_loads_nothing_of_it(built, others, tmp_path):
    python = environment(tmp_path)
    wanted = ("amltk", "pytest", "pytest-timeout")
    run(python, "-m", "pip", "install", "-qq", "--no-index", "-f", built, "-f", others, *wanted, cwd=tmp_path)
    (tmp_path / "test_nothing_of_amltk.py").write_text(PYTEST_ALONE)
    assert "1 passed" in run(python, "-m", "pytest", "-p", "no:cacheprovider", cwd=tmp_path)
    assert "amltk" not in run(python, "-m", "pytest", "--help", "-p", "no:cacheprovider", cwd=tmp_path)


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
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    (command,) = re.findall(r"^    pip (install .*)$", readme, re.MULTILINE)
    more = re.findall(r"`(\./amltk_\w+/[\w-]+)`", readme)
    report = tmp_path / "report.json"
    pip = [environment(tmp_path), "-m", "pip"]
    run(*pip, *command.split(), *more, "-qq", "--dry-run", "--report", report, cwd=ROOT)
    found = {
        entry["metadata"]["name"]: entry["download_info"]["url"]
        for entry in json.loads(report.read_text(encoding="utf-8"))["install"]
    }
    ours = {PYPROJECTS[folder]["project"]["name"]: folder.as_uri() for folder in FOLDERS}
    assert {name: url for name, url in found.items() if name.startswith("amltk")} == ours
    assert {"pluggy", "rich"} <= set(found)


# What strangers make


@pytest.fixture
def fresh(built, others, tmp_path):
    """A folder with an environment `env` that has amltk-testing, the core with it, and what tests need."""
    python = environment(tmp_path)
    tools = PYPROJECTS[ROOT]["dependency-groups"]
    needs = ["amltk-testing", *(need for group in ("build", "lint", "mypy") for need in tools[group]), "build"]
    run(python, "-m", "pip", "install", "-qq", "--no-index", "-f", built, "-f", others, *needs, cwd=tmp_path)
    return tmp_path


USE_BACKEND = """
import amltk_fresh_place
from amltk import Scheduler

scheduler = Scheduler.with_fresh_place(max_workers=2)
scheduler.on_start(lambda: scheduler.submit(pow, 2, 5))
scheduler.on_future_result(lambda _, result: print(result))
print(scheduler.run().code.name, amltk_fresh_place.__file__)
"""

USE_PLUGIN = """
import amltk_fresh_place
from concurrent.futures import ThreadPoolExecutor
from amltk import Scheduler

with ThreadPoolExecutor() as executor:
    scheduler = Scheduler(executor=executor)
    task = scheduler.task(pow, plugins=amltk_fresh_place.FreshPlacePlugin(max_calls=1))
    scheduler.on_start(lambda: [task(2, 5), task(2, 6)] and None)
    task.on_result(lambda _, result: print(result))
    print(scheduler.run().code.name, amltk_fresh_place.__file__)
"""


@pytest.mark.parametrize(
    ("kind", "name", "use", "look"),
    [
        ("backend", "fresh_place", USE_BACKEND, ("doctor", "fresh_place")),
        ("plugin", "fresh-place", USE_PLUGIN, ("plugins",)),
    ],
)
def test_what_amltk_new_writes_is_right_as_it_is(fresh, built, others, kind, name, use, look):
    scripts = fresh / "env" / "bin"
    python = scripts / "python"
    run(scripts / "amltk", "new", kind, name, cwd=fresh)
    project = fresh / "amltk-fresh-place"
    run(python, "-m", "build", "--no-isolation", "--outdir", fresh / "dist", cwd=project)
    folders = [argument for folder in (fresh / "dist", built, others) for argument in ("-f", folder)]
    run(python, "-m", "pip", "install", "-qq", "--no-index", *folders, "amltk-fresh-place[test]", cwd=fresh)
    run(python, "-m", "pip", "check", cwd=fresh)

    (fresh / "script.py").write_text(use)
    result, end = run(python, "script.py", cwd=fresh).splitlines()
    assert result == "32"
    code, place = end.split()
    assert code == "EXHAUSTED"
    assert Path(place).is_relative_to(fresh / "env")
    with ZipFile(next((fresh / "dist").glob("*.whl"))) as wheel:
        assert "amltk_fresh_place/py.typed" in wheel.namelist()

    card = run(python, "-m", "pytest", "-q", "-p", "no:cacheprovider", cwd=project)
    assert re.search(rf"^{name} +passed +not applicable +failed$", card, re.MULTILINE)
    assert re.search(r"^\d+ passed", card, re.MULTILINE)
    assert name in run(scripts / "amltk", *look, cwd=fresh)
    run(scripts / "ruff", "check", "--no-cache", cwd=project)
    run(scripts / "ruff", "format", "--check", "--no-cache", cwd=project)
    run(python, "-m", "mypy", "--strict", "--python-executable", python, cwd=project)


PAGE = ROOT / "docs" / "publish-your-backend.md"


def steps_of(page: Path) -> Iterator[tuple[str, str, str]]:
    """The commands and files of a page, in their order: `("run", command, output)` and `("write", path, text)`."""
    fence = re.compile(r"^(?:(?P<above>[^\n]+)\n+)?```(?P<language>\w+)\n(?P<code>.*?)^```$", re.MULTILINE | re.DOTALL)
    for block in fence.finditer(page.read_text(encoding="utf-8")):
        file = re.fullmatch(r"`([\w./-]+)`:", block["above"] or "")
        if block["language"] == "console" and not (block["above"] or "").startswith("<!-- not run: "):
            for command, output in re.findall(r"^\$ (.+)\n((?:(?!\$ ).*\n)*)", block["code"], re.MULTILINE):
                yield "run", command, output
        elif file:
            yield "write", file[1], block["code"]


@pytest.mark.timeout(600)
def test_the_page_on_publishing_can_be_followed_to_the_letter(built, others, tmp_path):
    """In one shell, with an index that has what an index would have. In outputs, `...` is anything."""
    steps = list(steps_of(PAGE))
    assert [kind for kind, *_ in steps].count("run") == PAGE.read_text(encoding="utf-8").count("\n$ ") - 2  # not run
    assert [path for kind, path, _ in steps if kind == "write"] == ["src/amltk_pool/plugin.py", "use_pool.py"]
    here, outputs = tmp_path / "here", tmp_path / "outputs"
    here.mkdir()
    outputs.mkdir()
    (here / "amltk").symlink_to(ROOT)
    script = ["set -e"]
    for number, (kind, what, text) in enumerate(steps):
        if kind == "run":
            script.append(f"{{ {what}; }} >{outputs}/{number} 2>&1 || {{ cat {outputs}/{number}; exit 1; }}")
        else:
            (outputs / f"{number}.file").write_text(text, encoding="utf-8")
            script.append(f"cp {outputs}/{number}.file {what}")
    (tmp_path / "script").write_text("\n".join(script) + "\n")
    index = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": f"{built} {others}", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    run("bash", tmp_path / "script", cwd=here, **index, LC_ALL="C")
    for number, (kind, what, expected) in enumerate(steps):
        if kind == "run" and expected.strip():
            lines = [".*" if line == "...\n" else re.escape(line) for line in expected.splitlines(keepends=True)]
            found = (outputs / str(number)).read_text(encoding="utf-8")
            assert re.fullmatch("".join(lines).replace(r"\.\.\.", "[^\n]*"), found, re.DOTALL), f"$ {what}\n{found}"
