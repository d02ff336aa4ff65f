"""Compares what distributions say they need with what is installed."""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from typing import TYPE_CHECKING

from amltk.known import how_to_install, is_ours

if TYPE_CHECKING:
    from packaging.requirements import Requirement

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


def compare(root: Distribution) -> tuple[bool | None, str]:
    """Say whether what a distribution needs is there, in versions that fit, and whether that holds for those in turn.

    Returns:
        True, False, or None if that can't be told; and what there is, or what does not fit.
    """
    there = ", ".join(_present(root)) or "it needs nothing"
    try:
        import packaging.requirements  # noqa: F401 - no dependency of ours, but of pip's neighbours: mostly there
    except ModuleNotFoundError:
        return None, f"{there}; whether they fit is not known: pip install packaging"
    misfits = list(_misfits(root))
    return not misfits, "; ".join(misfits) or there


def _command(need: Requirement) -> str:
    """Return the command that brings what is needed: one of this project is on no package index."""
    return how_to_install(need.name) if is_ours(need.name) else f"pip install '{need.name}{need.specifier}'"


def _present(root: Distribution) -> Iterator[str]:
    """Name each direct need that is there, with its version."""
    for text in root.requires or ():
        name = _NAME.match(text)
        if name is not None and not re.search(r"\bextra\s*==", text):
            try:
                yield f"{name[0]} {distribution(name[0]).version}"
            except PackageNotFoundError:
                continue  # it may not be needed on this Python


def _misfits(root: Distribution) -> Iterator[str]:
    from packaging.requirements import InvalidRequirement, Requirement
    from packaging.version import InvalidVersion

    todo: list[tuple[Distribution, frozenset[str]]] = [(root, frozenset())]
    seen = set()
    while todo:
        dist, extras = todo.pop()
        who = f"{dist.name} {dist.version}"
        for text in dist.requires or ():
            try:
                need = Requirement(text)
                if need.marker and not any(need.marker.evaluate({"extra": extra}) for extra in ("", *extras)):
                    continue
                wanted = f"{need.name}{need.specifier}"
                found = distribution(need.name)
                if not need.specifier.contains(found.version, prereleases=True):
                    yield f"{who} needs {wanted}, but {found.version} is installed: {_command(need)}"
            except InvalidRequirement:
                yield f"{who} needs {text!r}, which can't be understood"
            except InvalidVersion:
                yield f"{who} needs {wanted}, but the version {found.version!r} can't be understood"
            except PackageNotFoundError:
                yield f"{who} needs {wanted}, which is not installed: {_command(need)}"
            else:
                key = found.name, frozenset(need.extras)
                if key not in seen:
                    seen.add(key)
                    todo.append((found, frozenset(need.extras)))
