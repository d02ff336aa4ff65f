"""Runs what the documentation shows, as its readers would: each block is a script in a fresh process.

What the pages write for their readers tells this file what to do:

    ```python           a script; it must end well, and say nothing on stderr
    Output:             stands between a block and the ```text block that is its exact output
    ```console          lines that begin with "$ " are commands; lines below a command are its exact output
    `a/path`:           the block below is this file of the page's example package. All other blocks of the page
                        see the package as if it were installed; its test files are run by pytest
    def f(...): ...     alone in a block, is a signature; `test_hook_docs.py` compares those
    <!-- not run: why -->   the block below can't be run here
"""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import pytest

pytestmark = pytest.mark.thorough

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), *sorted(ROOT.glob("amltk_*/**/README.md"))]

FENCE = re.compile(r"^```(?P<language>\w+)\n(?P<code>.*?)^```$", re.MULTILINE | re.DOTALL)
FILE = re.compile(r"^`([\w./-]+)`:$")
NOT_RUN = re.compile(r"^<!-- not run: (.+) -->$")


@dataclass(frozen=True)
class Block:
    page: Path
    line: int
    language: str
    code: str
    output: str | None
    file: str | None
    not_run: str | None

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"

    @property
    def is_signature(self) -> bool:
        body = ast.parse(self.code).body
        return len(body) == 1 and isinstance(body[0], ast.FunctionDef) and ast.unparse(body[0].body[0]) == "..."


def blocks_of(page: Path) -> Iterator[Block]:
    text = page.read_text(encoding="utf-8")
    matches = list(FENCE.finditer(text))
    ends = [0, *(match.end() for match in matches)]
    for index, match in enumerate(matches):
        above = text[ends[index] : match.start()].strip()
        last = above.rpartition("\n")[2]
        follower = matches[index + 1] if index + 1 < len(matches) else None
        output = None
        if follower and follower["language"] == "text" and text[match.end() : follower.start()].strip() == "Output:":
            output = follower["code"]
        file, not_run = FILE.match(last), NOT_RUN.match(last)
        yield Block(
            page=page,
            line=text.count("\n", 0, match.start()) + 1,
            language=match["language"],
            code=match["code"],
            output=output,
            file=file[1] if file else None,
            not_run=not_run[1] if not_run else None,
        )


BLOCKS = [block for page in PAGES for block in blocks_of(page)]
SCRIPTS = [block for block in BLOCKS if block.language == "python" and block.file is None and not block.is_signature]
FOLLOWED = "publish-your-backend.md"  # as a whole, by test_packaging.py
CONSOLES = [block for block in BLOCKS if block.language == "console" and block.page.name != FOLLOWED]
PAGES_ON_WRITING = sorted((ROOT / "docs").glob("writing-*.md"))


def package_of(page: Path, folder: Path) -> list[Path]:
    """Write the files that a page shows, and what an installer would make of them; return what goes on the path."""
    files = {block.file: block.code for block in blocks_of(page) if block.file}
    if not files:
        return []
    for name, code in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(code, encoding="utf-8")
    for package in (folder / "src").iterdir():
        (package / "__init__.py").touch()
    project = tomllib.loads(files["pyproject.toml"])["project"]
    dist_info = folder / "src" / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
    dist_info.mkdir()
    metadata = f"Metadata-Version: 2.3\nName: {project['name']}\nVersion: {project['version']}\n"
    (dist_info / "METADATA").write_text(metadata, encoding="utf-8")
    groups = [
        "\n".join([f"[{group}]", *(f"{name} = {value}" for name, value in entries.items()), ""])
        for group, entries in project.get("entry-points", {}).items()
    ]
    (dist_info / "entry_points.txt").write_text("\n".join(groups), encoding="utf-8")
    return [folder / "src"]


def run(page: Path, folder: Path, *command: str | Path) -> subprocess.CompletedProcess[str]:
    """Run a command in an empty folder, with the page's package installed and our commands on the PATH."""
    package, here = folder / "package", folder / "here"
    here.mkdir()
    environ = {key: value for key, value in os.environ.items() if not key.startswith(("AMLTK", "PYTHON", "COLUMNS"))}
    environ["PYTHONPATH"] = os.pathsep.join(map(str, package_of(page, package)))
    environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environ['PATH']}"
    done = subprocess.run(command, cwd=here, env=environ, capture_output=True, text=True, timeout=50, check=False)
    assert done.returncode == 0, f"exit code {done.returncode}\n{done.stdout}{done.stderr}"
    return done


def skip_what_needs_ray(block: Block, sign: str) -> None:
    if sign in block.code and not find_spec("ray"):
        pytest.skip("Ray has no release for this Python")


@pytest.mark.parametrize("block", SCRIPTS, ids=str)
def test_example_does_what_the_page_says(block: Block, tmp_path: Path) -> None:
    if block.not_run:
        pytest.skip(block.not_run)
    skip_what_needs_ray(block, "with_ray(")
    script = tmp_path / "example.py"
    script.write_text(block.code, encoding="utf-8")
    done = run(block.page, tmp_path, sys.executable, "-W", "error", script)
    assert done.stderr == ""
    if block.output is not None:
        assert done.stdout == block.output


@pytest.mark.parametrize("block", CONSOLES, ids=str)
def test_command_does_what_the_page_says(block: Block, tmp_path: Path) -> None:
    if block.not_run:
        pytest.skip(block.not_run)
    skip_what_needs_ray(block, "$ amltk doctor\n")  # which then says so
    commands = re.findall(r"^\$ (.+)\n((?:(?!\$ ).*\n)*)", block.code, re.MULTILINE)
    assert commands, "a console block without a command"
    for number, (command, output) in enumerate(commands):
        folder = tmp_path / str(number)
        folder.mkdir()
        done = run(block.page, folder, "bash", "-c", command)
        if output.strip():
            assert done.stdout + done.stderr == output


@pytest.mark.parametrize("page", PAGES_ON_WRITING, ids=lambda page: page.name)
def test_tests_of_the_package_on_the_page_pass(page: Path, tmp_path: Path) -> None:
    tests = [block.file for block in blocks_of(page) if block.file and Path(block.file).name.startswith("test_")]
    assert tests, "a package without a test"
    run(page, tmp_path, sys.executable, "-m", "pytest", "-q", *(tmp_path / "package" / name for name in tests))


@pytest.mark.parametrize("page", [ROOT / "docs" / "hooks.md", *PAGES_ON_WRITING], ids=lambda page: page.name)
def test_plugins_of_the_package_on_the_page_are_ready(page: Path, tmp_path: Path) -> None:
    ready = set()
    for command in ("backends", "plugins"):
        folder = tmp_path / command
        folder.mkdir()
        rows = json.loads(run(page, folder, "amltk", command, "--json").stdout)
        ready |= {row["name"] for row in rows if row["status"] == "ready"}
    pyproject = next(block.code for block in blocks_of(page) if block.file == "pyproject.toml")
    groups = tomllib.loads(pyproject)["project"]["entry-points"]
    assert {name for entries in groups.values() for name in entries} <= ready


def test_the_examples_are_found() -> None:
    """A changed fence must not turn all the tests above into none."""
    for page in PAGES:
        if page.name != "README.md":
            assert page.read_text(encoding="utf-8").count("\n```") == 2 * len(list(blocks_of(page))), page.name
    assert len(SCRIPTS) >= 40
    assert shutil.which("bash")
