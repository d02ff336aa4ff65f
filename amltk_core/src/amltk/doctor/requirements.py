"""Compares the requirements of distributions with what is installed."""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from typing import TYPE_CHECKING

from amltk.plugins.catalog import how_to_install, is_ours

if TYPE_CHECKING:
    from packaging.requirements import Requirement

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


def compare(root: Distribution) -> tuple[bool | None, str]:
    """Check the requirements of a distribution, and in turn theirs.

    Returns:
        Whether all fit, None if unknown; and the direct requirements that are installed, or what does not fit.
    """
    there = ", ".join(_present(root)) or "no requirements"
    try:
        import packaging.requirements  # noqa: F401 - not a dependency of ours, but in most environments
    except ModuleNotFoundError:
        return None, f"{there}; to compare versions: pip install packaging"
    misfits = list(_misfits(root))
    return not misfits, "; ".join(misfits) or there


def _command(need: Requirement) -> str:
    """Return the command that installs a requirement; those of this project are on no package index."""
    return how_to_install(need.name) if is_ours(need.name) else f"pip install '{need.name}{need.specifier}'"


def _present(root: Distribution) -> Iterator[str]:
    """Yield the installed direct requirements, with their versions."""
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
        owner = f"{dist.name} {dist.version}"
        for text in dist.requires or ():
            try:
                need = Requirement(text)
                if need.marker and not any(need.marker.evaluate({"extra": extra}) for extra in ("", *extras)):
                    continue
                wanted = f"{need.name}{need.specifier}"
                found = distribution(need.name)
                if not need.specifier.contains(found.version, prereleases=True):
                    yield f"{owner} needs {wanted}, but {found.version} is installed: {_command(need)}"
            except InvalidRequirement:
                yield f"{owner} needs {text!r}, which cannot be parsed"
            except InvalidVersion:
                yield f"{owner} needs {wanted}, but the installed version {found.version!r} cannot be parsed"
            except PackageNotFoundError:
                yield f"{owner} needs {wanted}, which is not installed: {_command(need)}"
            else:
                key = found.name, frozenset(need.extras)
                if key not in seen:
                    seen.add(key)
                    todo.append((found, frozenset(need.extras)))
