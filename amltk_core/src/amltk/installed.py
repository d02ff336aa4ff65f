"""What installed distributions bring: their entry points, in three groups; none is loaded here.

    amltk            name -> module    loaded when that name is asked for
    amltk.observers  name -> module    loaded when the first scheduler is made
    amltk.commands   name -> function  called by the command line `amltk name ...`

A distribution whose files can't be read hides no other.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from importlib.metadata import EntryPoint, EntryPoints, distributions, entry_points
from typing import Any

logger = logging.getLogger("amltk")

GROUP = "amltk"
OBSERVERS = "amltk.observers"
COMMANDS = "amltk.commands"


def read_entry_points() -> Mapping[str, Mapping[str, tuple[EntryPoint, ...]]]:
    """Return ours by group and name; this goes through the files of every installed distribution."""
    entries = _entry_points()
    found: dict[str, dict[str, tuple[EntryPoint, ...]]] = {GROUP: {}, OBSERVERS: {}, COMMANDS: {}}
    for group, names in found.items():
        for entry in entries.select(group=group):
            names[entry.name] = (*names.get(entry.name, ()), entry)
    return found


def _entry_points() -> EntryPoints:
    try:
        return entry_points()  # type: ignore[return-value] # Python 3.11's has `select` too
    except Exception:  # somebody's file can't be read, and so none can in one go
        return EntryPoints(_readable_entry_points())


def _readable_entry_points() -> Iterator[EntryPoint]:
    seen: set[str] = set()
    for distribution in distributions():
        if distribution.name in seen:
            continue  # hidden by one of the same name earlier on the path
        seen.add(distribution.name)
        try:
            yield from distribution.entry_points
        except Exception as error:
            msg = "The entry points of the installed distribution %s can't be read, so it is passed over: %s: %s"
            logger.warning(msg, distribution.name, type(error).__name__, error)


def metadata_of(entry: EntryPoint) -> Any:
    """Return what a distribution says of itself; nothing if it is a folder that an uninstallation left behind."""
    try:
        return entry.dist.metadata if entry.dist is not None else {}  # without `get` before Python 3.12
    except FileNotFoundError:  # of `importlib_metadata`, which replaces the standard one where it is imported
        return {}


def distribution_of(entry: EntryPoint) -> tuple[str, str]:
    """Return name and version; a folder that an uninstallation left behind may have none."""
    metadata = metadata_of(entry)
    name = metadata["Name"] if "Name" in metadata else "an unknown distribution"  # noqa: SIM401
    return name, metadata["Version"] if "Version" in metadata else ""  # noqa: SIM401


def origin(found: tuple[EntryPoint, ...]) -> str:
    """Return which distributions bring an entry point, with their versions, as text."""
    return " and ".join(" ".join(distribution_of(entry)).strip() for entry in found)
