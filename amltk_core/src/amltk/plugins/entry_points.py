"""Reads the entry points of the installed distributions, one group for each kind of plugin, without loading any.

    amltk.backends           name -> class     loaded when that name is asked for
    amltk.task_plugins       name -> class     loaded when that name is asked for
    amltk.scheduler_plugins  name -> class     loaded when that name is asked for
    amltk.observers          name -> module    loaded when the first scheduler is made
    amltk.commands           name -> function  called by the command line `amltk name ...`

A distribution whose files can't be read hides no other distribution. A malformed entry point hides no other of its
distribution: it is kept as a `MalformedEntryPoint`, whose `fault` says what is wrong.
"""

from __future__ import annotations

import contextlib
import logging
import re
from collections.abc import Iterator, Mapping
from importlib.metadata import Distribution, EntryPoint, EntryPoints, distributions, entry_points
from typing import Any

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


class MalformedEntryPoint(EntryPoint):
    """An entry point that names no module; Python 3.15 would not even make it."""

    def __init__(self, name: str, value: str, group: str, dist: Distribution | None) -> None:
        vars(self).update(name=name, value=value, group=group, dist=dist)  # no attribute of it can be set

    @property
    def fault(self) -> str:
        """The reason why it cannot be loaded."""
        line = f"{self.name} = {self.value}" if self.value else self.name
        form = "module" if self.group == OBSERVERS else "module:object"
        return f"its entry point {line!r} in [{self.group}] is malformed: it must be {self.name or 'name'} = {form}"


class InstalledEntryPoints:
    """The entry points of all installed distributions, sorted by group when a group is first asked for."""

    def __init__(self) -> None:
        """Read the files of every installed distribution."""
        self._entries = _entry_points()
        self._groups: dict[str, Mapping[str, tuple[EntryPoint, ...]]] = {}

    def group(self, group: str) -> Mapping[str, tuple[EntryPoint, ...]]:
        """Return the entry points of a group by their names."""
        if group not in self._groups:
            names: dict[str, tuple[EntryPoint, ...]] = {}
            for entry in self._entries.select(group=group):
                known = names.get(entry.name, ())
                if any(entry == other and entry.dist is other.dist for other in known):
                    continue  # the file has it twice
                names[entry.name] = (*known, _checked(entry))
            self._groups[group] = names
        return self._groups[group]

    def unread_groups(self) -> list[str]:
        """Return the groups that look like ours and are not read."""
        return sorted(group for group in self._entries.groups if _looks_like_ours(group) and group not in KINDS)


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


def _checked(entry: EntryPoint) -> EntryPoint:
    if EntryPoint.pattern.match(entry.value):
        return entry
    return MalformedEntryPoint(entry.name, entry.value, entry.group, entry.dist)


def _entry_points() -> EntryPoints:
    try:
        return entry_points()  # type: ignore[return-value] # Python 3.11's has `select` too
    except Exception:  # one file that can't be read makes reading all at once fail
        return EntryPoints(_readable_entry_points())


def _readable_entry_points() -> Iterator[EntryPoint]:
    seen: set[str] = set()
    for distribution in distributions():
        name = ""
        with contextlib.suppress(Exception):  # without a name, it hides no other distribution
            name = distribution._normalized_name  # type: ignore[attr-defined] # by which Python tells them apart
        if name in seen:
            continue  # hidden by one of the same name earlier on the path
        if name:
            seen.add(name)
        try:
            yield from distribution.entry_points
        except Exception:
            with contextlib.suppress(Exception):
                name = distribution.name or name
            yield from _read_leniently(distribution, name)


def _read_leniently(distribution: Distribution, name: str) -> Iterator[EntryPoint]:
    """Yield the readable entry points of a distribution that has unreadable ones."""
    entries: list[EntryPoint] = []
    try:
        group = ""
        for line in map(str.strip, _text(distribution).split("\n")):
            if line.startswith("[") and line.endswith("]"):
                group = line[1:-1].strip()
            elif line and not line.startswith("#"):
                entries.append(_parsed(line, group, distribution))
    except Exception as error:
        msg = "The entry points of the installed distribution %s can't be read, so it is passed over: %s: %s"
        logger.warning(msg, name, type(error).__name__, error)
    if any(entry.group in KINDS for entry in entries):
        for entry in entries:
            if isinstance(entry, MalformedEntryPoint) and entry.group not in KINDS:
                msg = "The installed distribution %s has a malformed entry point: [%s] %s = %s. All others are used."
                logger.warning(msg, name, entry.group, entry.name, entry.value)
    yield from entries


def _text(distribution: Distribution) -> str:
    try:
        text = distribution.read_text("entry_points.txt")
    except UnicodeDecodeError:
        data: bytes = distribution._path.joinpath("entry_points.txt").read_bytes()  # type: ignore[attr-defined] # no public way
        text = data.decode(errors="replace")
    return text or ""


def _parsed(line: str, group: str, distribution: Distribution) -> EntryPoint:
    name, equals, value = (part.strip() for part in line.partition("="))
    if not name or not equals or not EntryPoint.pattern.match(value):
        return MalformedEntryPoint(name, value, group, distribution)
    entry = EntryPoint(name, value, group)
    vars(entry).update(dist=distribution)
    return entry


def metadata_of(entry: EntryPoint) -> Any:
    """Return the metadata of a distribution; nothing if it is a folder that an uninstallation left behind."""
    try:
        return entry.dist.metadata if entry.dist is not None else {}  # without `get` before Python 3.12
    except (FileNotFoundError, UnicodeDecodeError):  # from Python 3.15 on, and of `importlib_metadata`
        return {}


def distribution_of(entry: EntryPoint) -> tuple[str, str]:
    """Return the name and version of a distribution; a folder that an uninstallation left behind may have none."""
    metadata = metadata_of(entry)
    name = metadata["Name"] if "Name" in metadata else "an unknown distribution"  # noqa: SIM401
    return name, metadata["Version"] if "Version" in metadata else ""  # noqa: SIM401


def origin(found: tuple[EntryPoint, ...]) -> str:
    """Return the distributions that bring an entry point, with their versions, as text."""
    return " and ".join(" ".join(distribution_of(entry)).strip() for entry in found)
