"""Checks entry points and the objects that they load; each error names the fault and its fix."""

from __future__ import annotations

import sys
import types

from amltk import hookspecs
from amltk.plugins.entry_points import KINDS, EntryPoint, distribution_of, line_of, origin
from amltk.plugins.kinds import group_of


class RefusedPluginError(Exception):
    """A plugin can't be used; the text tells why. It never leaves `amltk.plugins`."""


class MisplacedPluginError(RefusedPluginError):
    """An entry point is in the wrong group; the text names the right one."""


def reason_of(error: BaseException) -> str:
    """Return why loading failed, in one line."""
    if isinstance(error, RefusedPluginError):
        return str(error)
    return " ".join(f"{type(error).__name__}: {error}".split())


def only_entry(found: tuple[EntryPoint, ...]) -> EntryPoint:
    """Return the one entry point of a name.

    Raises:
        RefusedPluginError: There are several, or it is malformed.
    """
    entry, *others = found
    if others and all(other.source is entry.source for other in others):
        msg = f"it is named {len(found)} times there: {', '.join(each.value for each in found)}; keep one"
        raise RefusedPluginError(msg)
    if others:
        both = " and ".join(sorted(origin((each,)) for each in found))
        commands = " or ".join(sorted(f"pip uninstall {distribution_of(each)[0]}" for each in found))
        msg = f"{both} both bring it; keep one: {commands}"
        raise RefusedPluginError(msg)
    if entry.fault:
        raise RefusedPluginError(entry.fault)
    return entry


def check_group(entry: EntryPoint, value: object) -> None:
    """Check that an entry point is in the right group for `value`, the object that it loads.

    Raises:
        MisplacedPluginError: It is not, or it leads to the module of a class instead of the class.
    """
    right, place = group_of(value), entry.value
    if isinstance(value, types.ModuleType) and (right is None or right != entry.group):
        for name, each in vars(value).items():  # an entry point for a class must lead to the class, not to its module
            if isinstance(each, type) and getattr(each, "name", None) == entry.name and (group := group_of(each)):
                right, place = group, f"{entry.module}:{name}"
    if right == entry.group and place != entry.value:
        msg = f"{entry.value} is a module, not {KINDS[right]}; write {line_of(right, entry.name, place)}"
        raise MisplacedPluginError(msg)
    if right is not None and right != entry.group:
        where = f"the group {entry.group!r} of entry points"
        where += f", which is for {KINDS[entry.group].partition(' ')[2]}s" if entry.group in KINDS else ""
        fix = line_of(right, entry.name, place)
        msg = f"it is {KINDS[right]} in {where}; write in its pyproject.toml: {fix}"
        raise MisplacedPluginError(msg)
    if entry.group not in KINDS:
        raise MisplacedPluginError(unread(entry.group))


def unread(group: str) -> str:
    """Return a sentence on a group of entry points that is not read, with the groups that are."""
    groups = ", ".join(f"{each!r} for {kind}" for each, kind in KINDS.items())
    return f"it is in the group {group!r} of entry points, which is not read; the groups are {groups}"


def check_contract(plugin: object) -> None:
    """Check the version of the contract for which a plugin was made, before any of its hooks is called.

    Raises:
        RefusedPluginError: It was made for another version, or its declaration is no integer.
    """
    kind = plugin if isinstance(plugin, type) else type(plugin)
    module = sys.modules.get(kind.__module__)  # for a class or object, the module that defines it
    default = getattr(module, hookspecs.DECLARATION, 1)
    made_for = getattr(plugin, hookspecs.DECLARATION, default)
    if isinstance(made_for, bool) or not isinstance(made_for, int):
        msg = f"its {hookspecs.DECLARATION} must be an integer, got {made_for!r} of type {type(made_for).__name__}"
        raise RefusedPluginError(msg)
    if made_for != hookspecs.CONTRACT:
        outdated = "amltk-core" if made_for > hookspecs.CONTRACT else "the plugin"
        msg = (
            f"it was made for version {made_for} of the plugin contract, and the installed amltk-core has version "
            f"{hookspecs.CONTRACT}; a newer release of {outdated} is needed"
        )
        raise RefusedPluginError(msg)
