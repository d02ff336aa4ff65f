"""Reads the entry points of the installed distributions, one group for each kind of plugin, without loading any.

    amltk.backends           name -> class     loaded when that name is asked for
    amltk.task_plugins       name -> class     loaded when that name is asked for
    amltk.scheduler_plugins  name -> class     loaded when that name is asked for
    amltk.observers          name -> module    loaded when the first scheduler is made
    amltk.commands           name -> function  called by the command line `amltk name ...`

A distribution whose files can't be read hides no other distribution. A malformed entry point hides no other of its
distribution: its `fault` tells why it is malformed.

`importlib.metadata` takes longer to import than the rest of this package. It is imported for the name and version of a
distribution, and for distributions outside of the folders of `sys.path`: in a zip file, or behind a finder.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property, reduce
from importlib import import_module
from importlib.machinery import PathFinder
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from importlib.metadata import Distribution

logger = logging.getLogger("amltk")

BACKENDS = "amltk.backends"
TASK_PLUGINS = "amltk.task_plugins"
SCHEDULER_PLUGINS = "amltk.scheduler_plugins"
OBSERVERS = "amltk.observers"
COMMANDS = "amltk.commands"

KINDS: Mapping[str, str] = {
    BACKENDS: "a backend",
    TASK_PLUGINS: "a task plugin",
    SCHEDULER_PLUGINS: "a scheduler plugin",
    OBSERVERS: "an observer",
    COMMANDS: "a command",
}
"""The groups that are read, and the kind of plugin that belongs in each."""


_VALUE = re.compile(r"(?P<module>[\w.]+)\s*(:\s*(?P<attribute>[\w.]+)\s*)?(\[.*\]\s*)?$")


class Source:
    """An installed distribution: the folder of its metadata, or an object of `importlib.metadata`."""

    def __init__(self, name: str, folder: str = "", found: Distribution | None = None) -> None:
        """Keep its place; `name` is its normalized name."""
        self.name = name
        self._folder = folder
        self._found = found

    @cached_property
    def distribution(self) -> Distribution:
        """The distribution, with its metadata."""
        if self._found is not None:
            return self._found
        from importlib.metadata import Distribution

        return Distribution.at(self._folder)

    def entry_points_text(self) -> str:
        """Return its `entry_points.txt`; empty if it has none.

        Raises:
            Exception: The file can't be read.
        """
        if self._found is not None:
            return _text_of(self._found)
        try:
            with open(os.path.join(self._folder, "entry_points.txt"), "rb") as file:  # noqa: PTH118, PTH123 - one of many
                return file.read().decode(errors="replace")
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError, PermissionError):
            return ""


@dataclass(frozen=True)
class EntryPoint:
    """An entry point of an installed distribution.

    Attributes:
        name: Its name.
        value: `module` or `module:attribute`.
        group: Its group.
        source: The distribution that brings it.
    """

    name: str
    value: str
    group: str
    source: Source = field(compare=False, repr=False)

    @property
    def fault(self) -> str:
        """The reason why it is malformed; empty if it is not."""
        if self.name and _VALUE.match(self.value):
            return ""
        line = f"{self.name} = {self.value}" if self.value else self.name
        form = "module" if self.group == OBSERVERS else "module:object"
        return f"its entry point {line!r} in [{self.group}] is malformed: it must be {self.name or 'name'} = {form}"

    @property
    def module(self) -> str:
        """The name of the module."""
        match = _VALUE.match(self.value)
        return match["module"] if match else ""

    def load(self) -> Any:
        """Import the module and return it, or its attribute."""
        match = _VALUE.match(self.value)
        attribute = match["attribute"] if match else None
        return reduce(getattr, attribute.split(".") if attribute else (), import_module(self.module))


class InstalledEntryPoints:
    """The entry points of all installed distributions, by group."""

    def __init__(self) -> None:
        """Read the files of every installed distribution."""
        self._groups: dict[str, dict[str, tuple[EntryPoint, ...]]] = {}
        for entry in _entry_points():
            names = self._groups.setdefault(entry.group, {})
            known = names.get(entry.name, ())
            if not any(entry == other and entry.source is other.source for other in known):  # listed twice
                names[entry.name] = (*known, entry)

    def group(self, group: str) -> Mapping[str, tuple[EntryPoint, ...]]:
        """Return the entry points of a group by their names."""
        return self._groups.get(group, {})

    def unread_groups(self) -> list[str]:
        """Return the groups that look like ours and are not read."""
        return sorted(group for group in self._groups if _looks_like_ours(group) and group not in KINDS)


_KIND = re.compile(r"(backend|plugin|task\.plugin|scheduler\.plugin|observer|command)s?")


def _looks_like_ours(group: str) -> bool:
    """Return whether a group is within our name space, or one of ours that is misspelled."""
    space, _, kind = re.sub(r"[\W_]+", ".", group.lower()).partition(".")
    if space == "amltk" and not kind:
        return True
    return group.lower().startswith("amltk.") or bool(sorted(space) == sorted("amltk") and _KIND.fullmatch(kind))


def line_of(group: str, name: str, value: str) -> str:
    """Return the lines of a `pyproject.toml` that declare an entry point."""
    key = name if re.fullmatch("[A-Za-z0-9_-]+", name) else f'"{name}"'
    return f'[project.entry-points."{group}"] {key} = "{value}"'


def _entry_points() -> Iterator[EntryPoint]:
    seen: set[str] = set()
    for source in _folders() if _all_are_in_folders() else _found():
        if source.name and source.name in seen:
            continue  # hidden by a distribution of the same name earlier on the path
        seen.add(source.name)
        try:
            entries = list(_parsed(source))
        except Exception as error:
            msg = "The entry points of the installed distribution %s can't be read, so it is passed over: %s: %s"
            logger.warning(msg, _shown(source), type(error).__name__, error)
            continue
        if any(entry.group in KINDS for entry in entries):
            for entry in entries:
                if entry.fault and entry.group not in KINDS:
                    msg = (
                        "The installed distribution %s has a malformed entry point: [%s] %s = %s. All others are used."
                    )
                    logger.warning(msg, _shown(source), entry.group, entry.name, entry.value)
        yield from entries


def _all_are_in_folders() -> bool:
    """Return whether every distribution is a folder in a folder of `sys.path`, as installers write it."""
    if any(finder is not PathFinder and hasattr(finder, "find_distributions") for finder in sys.meta_path):
        return False
    return not any(not isinstance(path, str) or path.endswith(".egg") or os.path.isfile(path) for path in sys.path)  # noqa: PTH113


def _folders() -> Iterator[Source]:
    """Yield the distributions in the folders of `sys.path`, in that order."""
    for path in sys.path:
        names: list[str] = []
        with contextlib.suppress(OSError):  # the folder need not exist
            names = os.listdir(path or ".")  # noqa: PTH208 - pathlib takes long
        for name in names:
            stem, _, kind = name.lower().rpartition(".")
            if kind in {"dist-info", "egg-info"}:
                yield Source(_normalized(stem.partition("-")[0]), os.path.join(path, name))  # noqa: PTH118


def _found() -> Iterator[Source]:
    """Yield all distributions that `importlib.metadata` finds, from any finder."""
    from importlib.metadata import distributions

    for distribution in distributions():
        name = ""
        with contextlib.suppress(Exception):  # without a name, it hides no other distribution
            name = distribution._normalized_name  # type: ignore[attr-defined] # Python identifies distributions by it
        yield Source(name, found=distribution)


def _normalized(name: str) -> str:
    return re.sub(r"[-_.]+", "_", name).lower()


def _text_of(distribution: Distribution) -> str:
    try:
        text = distribution.read_text("entry_points.txt")
    except UnicodeDecodeError:
        data: bytes = distribution._path.joinpath("entry_points.txt").read_bytes()  # type: ignore[attr-defined] # no public way
        text = data.decode(errors="replace")
    return text or ""


def _parsed(source: Source) -> Iterator[EntryPoint]:
    group = ""
    for line in map(str.strip, source.entry_points_text().split("\n")):
        if line.startswith("[") and line.endswith("]"):
            group = line[1:-1].strip()
        elif line and not line.startswith("#"):
            name, _, value = (part.strip() for part in line.partition("="))
            yield EntryPoint(name, value, group, source)


def _shown(source: Source) -> str:
    name = ""
    with contextlib.suppress(Exception):
        name = source.distribution.name
    return name or source.name


def metadata_of(entry: EntryPoint) -> Any:
    """Return the metadata of a distribution; empty for a folder that an uninstallation left behind."""
    try:
        return entry.source.distribution.metadata  # without `get` before Python 3.12
    except (FileNotFoundError, UnicodeDecodeError):  # raised by Python 3.15 and later, and by `importlib_metadata`
        return {}


def distribution_of(entry: EntryPoint) -> tuple[str, str]:
    """Return the name and version of a distribution; a folder that an uninstallation left behind may have none."""
    metadata = metadata_of(entry)
    name = metadata["Name"] if "Name" in metadata else "an unknown distribution"  # noqa: SIM401
    return name, metadata["Version"] if "Version" in metadata else ""  # noqa: SIM401


def version_of(distribution: str) -> str | None:
    """Return the version of a distribution; None if it is not installed."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(distribution)
    except PackageNotFoundError:
        return None


def origin(found: tuple[EntryPoint, ...]) -> str:
    """Return the distributions that bring an entry point, with their versions, as text."""
    return " and ".join(" ".join(distribution_of(entry)).strip() for entry in found)
