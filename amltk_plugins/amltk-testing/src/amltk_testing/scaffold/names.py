"""Checks the name of a new backend or task plugin, and the folder of its distribution."""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

import amltk
from amltk.plugins import plugin_manager
from amltk.plugins.catalog import KNOWN_BACKENDS, KNOWN_TASK_PLUGINS
from amltk.plugins.entry_points import BACKENDS, SCHEDULER_PLUGINS, TASK_PLUGINS, distribution_of
from amltk.scheduling import Scheduler

Kind = Literal["backend", "plugin"]

MAX_LENGTH = 40
_NOUN = {"backend": "backend", "plugin": "task plugin"}
_SEPARATOR = {"backend": "_", "plugin": "-"}


class ScaffoldError(Exception):
    """A distribution cannot be written; the message says why, and what to change."""


@dataclass(frozen=True)
class Names:
    """The checked names of a backend or task plugin and its parts.

    Attributes:
        kind: "backend" or "plugin".
        name: The name of the backend or task plugin, and of its entry point.
    """

    kind: Kind
    name: str

    @property
    def distribution(self) -> str:
        """The distribution's name, normalized as in PEP 503."""
        return "amltk-" + self.name.replace("_", "-")

    @property
    def package(self) -> str:
        """The import name."""
        return self.distribution.replace("-", "_")

    @property
    def stem(self) -> str:
        """The beginning of the class's name."""
        return "".join(part.capitalize() for part in re.split("[-_]", self.name))


def check_name(kind: Kind, name: str) -> Names:
    """Return the names that follow from a name.

    Raises:
        ScaffoldError: The name is not allowed, or taken.
    """
    separator, noun = _SEPARATOR[kind], _NOUN[kind]
    if not re.fullmatch(f"[a-z][a-z0-9]*({separator}[a-z0-9]+)*", name) or name.startswith("amltk"):
        nearest = re.sub("[^a-z0-9]+", separator, name.lower()).removeprefix("amltk").strip("-_").lstrip("0123456789")
        msg = (
            f"{name!r} can't be the name of a {noun}. It is of lower-case letters and digits, begins with a letter, "
            f"has single '{separator}' within, and does not begin with 'amltk', which that of its distribution does."
            + (f" How about {nearest!r}?" if nearest else "")
        )
        raise ScaffoldError(msg)
    if len(name) > MAX_LENGTH:
        msg = f"{name!r} has {len(name)} characters; the name of a {noun} has {MAX_LENGTH} at most."
        raise ScaffoldError(msg)
    names = Names(kind, name)
    if owner := _owner(names):
        msg = f"{name!r} is taken: {owner}. Choose another name."
        raise ScaffoldError(msg)
    return names


def _owner(names: Names) -> str:
    """Return who has one of the names already, as a clause; nothing if the names are free."""
    own = {**KNOWN_BACKENDS, **KNOWN_TASK_PLUGINS, "core": "amltk-core", "testing": "amltk-testing"}
    normalized = names.name.replace("_", "-")
    if normalized in own:
        return f"{own[normalized]} is a distribution of amltk's own"
    if names.kind == "backend" and f"with_{names.name}" in vars(Scheduler):
        return f"Scheduler.with_{names.name} is a method of amltk's own"
    if names.kind == "plugin" and f"{names.stem}Plugin" in amltk.__all__:
        return f"amltk.{names.stem}Plugin is a class of amltk's own"
    for group in (BACKENDS, TASK_PLUGINS, SCHEDULER_PLUGINS):
        for name, entries in plugin_manager().installed(group).items():
            if name.replace("_", "-") == normalized:
                return f"{distribution_of(entries[0])[0]}, which is installed, brings {name!r}"
    try:
        return f"the distribution {distribution(names.distribution).name} is installed"
    except PackageNotFoundError:
        return f"there is a package {names.package} to be imported" if find_spec(names.package) else ""


def check_target(names: Names, into: Path | None) -> Path:
    """Return the folder to write, which is empty or absent.

    Raises:
        ScaffoldError: It is neither.
    """
    folder = Path(names.distribution) if into is None else into
    if folder.is_symlink() or folder.exists():
        if not folder.is_dir():
            msg = f"{folder} is no folder. Name another one: --into DIR"
            raise ScaffoldError(msg)
        if found := sorted(path.name for path in folder.iterdir() if path.name != ".git"):
            msg = f"{folder} is not empty: it holds {', '.join(found[:3])}{', …' * (len(found) > 3)}. "
            msg += "Name a folder that is empty, or not there yet: --into DIR"
            raise ScaffoldError(msg)
    return folder
