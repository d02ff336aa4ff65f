"""Lists plugins with their status: the rows of `amltk backends`, `amltk plugins` and a part of `amltk doctor`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from amltk.backend import Backend
from amltk.plugins.catalog import KNOWN_BACKENDS, KNOWN_TASK_PLUGINS, how_to_install
from amltk.plugins.checking import MisplacedPluginError, reason_of, unread
from amltk.plugins.entry_points import BACKENDS, COMMANDS, KINDS, OBSERVERS, EntryPoint, distribution_of
from amltk.plugins.kinds import PluginKind
from amltk.plugins.loading import DISABLE, disabled, plugin_manager

Status = Literal["ready", "unavailable", "not installed", "broken", "disabled"]


@dataclass(frozen=True)
class Listing:
    """A row of `amltk backends` or `amltk plugins`.

    Attributes:
        status: "ready"; "unavailable", if it can't run on this system; "not installed", for a plugin of this project;
            "broken" or "disabled".
            "broken" or "disabled".
        distribution: The distribution that brings it.
        version: The version of that distribution; empty if it is not installed.
        summary: One line about it.
        reason: Why it can't be used and what fixes that; empty when it can.
        backend: Its class, if it is a backend that was loaded.
    """

    name: str
    status: Status
    distribution: str
    version: str
    summary: str = ""
    reason: str = ""
    backend: type[Backend] | None = None


def list_backends() -> list[Listing]:
    """Return a row for each backend; loads the modules of the installed ones, but not the libraries they wrap."""
    loaded = plugin_manager().backends.loaded
    return [
        _described(row, loaded[row.name]) if row.status == "ready" else row for row in _rows(plugin_manager().backends)
    ]


def list_plugins() -> list[Listing]:
    """Return a row for each plugin and observer; loads the modules of the installed ones."""
    manager = plugin_manager()
    rows = [*_documented_rows(manager.task_plugins), *_documented_rows(manager.scheduler_plugins)]
    for name, found in sorted(manager.installed(OBSERVERS).items()):
        rows.append(replace(_row(OBSERVERS, name, found), summary="observes"))
    return [*rows, *list_misplaced(BACKENDS)]


def list_misplaced(*groups: str) -> list[Listing]:
    """Return a row for each entry point in a wrong group, with the line to write instead; loads the entry points.

    Args:
        *groups: The groups to look through, besides those that look like ours and are not read.
    """
    manager = plugin_manager()
    rows = [
        row
        for group in groups
        for name, found in sorted(manager.installed(group).items())
        if not _is_ours(name, found)
        and (row := _row(group, name, found)).status == "broken"
        and isinstance(manager.load(group, name, found), MisplacedPluginError)
    ]
    for group in manager.entry_points.unread_groups():
        rows += [_row(group, name, found) for name, found in sorted(manager.installed(group).items())]
    return rows


def may_be_misplaced() -> Mapping[str, str]:
    """Return the names that may be in a wrong group, each with a reason that is known without loading it, or ""."""
    manager = plugin_manager()
    found = {
        name: ""
        for group in KINDS
        for name, entries in manager.installed(group).items()
        if group not in {BACKENDS, COMMANDS} and not _is_ours(name, entries)
    }
    for group in manager.entry_points.unread_groups():
        found |= dict.fromkeys(manager.installed(group), unread(group))
    return {name: reason for name, reason in found.items() if name not in disabled()}


def _documented_rows(kind: PluginKind[Any]) -> list[Listing]:
    return [
        replace(row, summary=_first_line(kind.loaded[row.name].__doc__)) if row.status == "ready" else row
        for row in _rows(kind)
    ]


def _rows(kind: PluginKind[Any]) -> list[Listing]:
    installed = plugin_manager().installed(kind.group)
    rows = [_row(kind.group, name, found) for name, found in sorted(installed.items())]
    rows += [Listing(name, "ready", "(registered by the program)", "") for name in kind.loaded if name not in installed]
    rows += [
        Listing(name, "not installed", distribution, "", reason=how_to_install(distribution))
        for name, distribution in kind.known.items()
        if name not in installed and name not in kind.loaded
    ]
    return rows


def _row(group: str, name: str, found: tuple[EntryPoint, ...]) -> Listing:
    distribution = ", ".join(sorted({distribution_of(entry)[0] for entry in found}))
    version = ", ".join(sorted({distribution_of(entry)[1] for entry in found}))
    if name in disabled():
        return Listing(name, "disabled", distribution, version, reason=f"{DISABLE} lists it")
    failure = plugin_manager().load(group, name, found)
    if failure is not None:
        reason = reason_of(failure)
        if group not in KINDS and not isinstance(failure, MisplacedPluginError):
            reason = f"{unread(group)}; {reason}"
        return Listing(name, "broken", distribution, version, reason=reason)
    return Listing(name, "ready", distribution, version)


def _described(row: Listing, backend: type[Backend]) -> Listing:
    status: Status = "unavailable" if backend.unavailable else "ready"
    return replace(row, status=status, reason=backend.unavailable, summary=backend.summary, backend=backend)


def _is_ours(name: str, found: tuple[EntryPoint, ...]) -> bool:
    """Return whether an entry point is one of this project's, which are all in the right group."""
    owner = KNOWN_BACKENDS.get(name) or KNOWN_TASK_PLUGINS.get(name)
    return any(distribution_of(entry)[0] == owner for entry in found)


def _first_line(text: str | None) -> str:
    return (text or "").strip().partition("\n")[0]
