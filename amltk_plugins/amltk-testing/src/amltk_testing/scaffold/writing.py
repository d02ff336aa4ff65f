"""Writes the files of a new distribution, made from templates.

A template is a file of a backend or plugin `newname`, so that tools check it like any other module. Other placeholders
stand between `@`.
"""

from __future__ import annotations

import re
import shlex
import time
from collections.abc import Mapping
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path

from amltk.plugins.catalog import how_to_install
from amltk.plugins.entry_points import BACKENDS, TASK_PLUGINS
from amltk_testing.scaffold.names import Kind, Names, ScaffoldError, check_name, check_target

_COMMON = {
    "pyproject.toml": "pyproject.toml.in",
    "LICENSE": "LICENSE.in",
    "tox.ini": "tox.ini.in",
    ".gitignore": "gitignore.in",
    ".github/workflows/ci.yml": "ci.yml.in",
}

_OF_KIND: Mapping[Kind, Mapping[str, str]] = {
    "backend": {
        "README.md": "backend_README.md.in",
        "src/amltk_newname/__init__.py": "backend_init.py",
        "src/amltk_newname/plugin.py": "backend.py",
        "tests/test_newname.py": "backend_tests.py",
    },
    "plugin": {
        "README.md": "plugin_README.md.in",
        "src/amltk_newname/__init__.py": "plugin_init.py",
        "src/amltk_newname/plugin.py": "plugin.py",
        "tests/test_newname.py": "plugin_tests.py",
    },
}

_WORDS: Mapping[Kind, Mapping[str, str]] = {
    "backend": {
        "@keyword@": "backend",
        "@description@": "Runs the calls of an amltk scheduler in a place of your own",
        "@group@": BACKENDS,
        "@object@": ":Newname",
    },
    "plugin": {
        "@keyword@": "task plugin",
        "@description@": "A task plugin for amltk",
        "@group@": TASK_PLUGINS,
        "@object@": ":NewnamePlugin",
    },
}


def write(kind: Kind, name: str, into: Path | None = None) -> str:
    """Write the distribution of a new backend or task plugin.

    Args:
        kind: "backend" or "plugin".
        name: The name of the backend or task plugin.
        into: The folder to write, empty or absent; `amltk-NAME` in the current folder by default.

    Returns:
        A text for the terminal: the written files, and the next steps.

    Raises:
        ScaffoldError: The name or the folder is not allowed, or a file cannot be written.
        OSError: The folder cannot be read.
    """
    names = check_name(kind, name)
    folder = check_target(names, into)
    made = render(names)
    try:
        for path, text in made.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_text(text, encoding="utf-8")
    except OSError as error:
        msg = f"{error.filename or folder} can't be written: {error.strerror}"
        raise ScaffoldError(msg) from error
    lines = [f"Wrote {names.distribution} to {folder}:", *(f"  {path}" for path in made), "", "Next, there:"]
    lines += [f"  cd {shlex.quote(str(folder))}", '  pip install --editable ".[test]"', "  pytest"]
    lines += [f"  amltk doctor {name}" if kind == "backend" else "  amltk plugins"]
    return "\n".join(lines) + "\n"


def render(names: Names) -> dict[str, str]:
    """Return the text of each file, by its path."""
    templates = files("amltk_testing.scaffold") / "templates"
    package = f"src/{names.package}"
    made = {
        _filled(path, names): _filled((templates / template).read_text(encoding="utf-8"), names)
        for path, template in {**_COMMON, **_OF_KIND[names.kind]}.items()
    }
    return {**made, f"{package}/py.typed": ""}


def _filled(text: str, names: Names) -> str:
    words = {
        **{word: text.replace("Newname", names.stem) for word, text in _WORDS[names.kind].items()},
        "@core@": version("amltk-core"),
        "@install-kit@": how_to_install("amltk-testing", elsewhere=True),
        "@year@": str(time.localtime().tm_year),
        "amltk-newname": names.distribution,
        "amltk_newname": names.package,
        "test_newname": f"test_{names.name.replace('-', '_')}",
        "newname": names.name,
        "Newname": names.stem,
    }
    return re.sub("|".join(words), lambda found: words[found[0]], text)
