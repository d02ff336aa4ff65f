"""What installed distributions bring: their entry points, in three groups; none is loaded here.

    amltk            name -> module    loaded when that name is asked for
    amltk.observers  name -> module    loaded when the first scheduler is made
    amltk.commands   name -> function  called by the command line `amltk name ...`

A distribution whose files can't be read hides no other, and an entry point that is malformed hides no other of its
distribution: it is kept as a `MalformedEntryPoint`, which says what is wrong.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator, Mapping
from importlib.metadata import Distribution, EntryPoint, EntryPoints, distributions, entry_points
from typing import Any

logger = logging.getLogger("amltk")

GROUP = "amltk"
OBSERVERS = "amltk.observers"
COMMANDS = "amltk.commands"


class MalformedEntryPoint(EntryPoint):
    """An entry point that names no module; Python 3.15 would not even make it."""

    def __init__(self, name: str, value: str, group: str, dist: Distribution | None) -> None:
        vars(self).update(name=name, value=value, group=group, dist=dist)  # no attribute of it can be set

    @property
    def fault(self) -> str:
        """What is wrong with it."""
        line = f"{self.name} = {self.value}" if self.value else self.name
        return f"its entry point {line!r} in [{self.group}] is malformed: it must be {self.name or 'name'} = module"


def read_entry_points() -> Mapping[str, Mapping[str, tuple[EntryPoint, ...]]]:
    """Return ours by group and name; this goes through the files of every installed distribution."""
    entries = _entry_points()
    found: dict[str, dict[str, tuple[EntryPoint, ...]]] = {GROUP: {}, OBSERVERS: {}, COMMANDS: {}}
    for group, names in found.items():
        for entry in entries.select(group=group):
            known = names.get(entry.name, ())
            if any(entry == other and entry.dist is other.dist for other in known):
                continue  # the file says it twice
            names[entry.name] = (*known, _checked(entry))
    return found


def _checked(entry: EntryPoint) -> EntryPoint:
    if EntryPoint.pattern.match(entry.value):
        return entry
    return MalformedEntryPoint(entry.name, entry.value, entry.group, entry.dist)


def _entry_points() -> EntryPoints:
    try:
        return entry_points()  # type: ignore[return-value] # Python 3.11's has `select` too
    except Exception:  # somebody's file can't be read, and so none can in one go
        return EntryPoints(_readable_entry_points())


def _readable_entry_points() -> Iterator[EntryPoint]:
    seen: set[str] = set()
    for distribution in distributions():
        name = ""
        with contextlib.suppress(Exception):  # without a name, it hides no other
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
    """Give what can be read of entry points of which one, at least, can't."""
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
    groups = (GROUP, OBSERVERS, COMMANDS)
    if any(entry.group in groups for entry in entries):
        for entry in entries:
            if isinstance(entry, MalformedEntryPoint) and entry.group not in groups:
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
    """Return what a distribution says of itself; nothing if it is a folder that an uninstallation left behind."""
    try:
        return entry.dist.metadata if entry.dist is not None else {}  # without `get` before Python 3.12
    except (FileNotFoundError, UnicodeDecodeError):  # from Python 3.15 on, and of `importlib_metadata`
        return {}


def distribution_of(entry: EntryPoint) -> tuple[str, str]:
    """Return name and version; a folder that an uninstallation left behind may have none."""
    metadata = metadata_of(entry)
    name = metadata["Name"] if "Name" in metadata else "an unknown distribution"  # noqa: SIM401
    return name, metadata["Version"] if "Version" in metadata else ""  # noqa: SIM401


def origin(found: tuple[EntryPoint, ...]) -> str:
    """Return which distributions bring an entry point, with their versions, as text."""
    return " and ".join(" ".join(distribution_of(entry)).strip() for entry in found)
