"""Plugins: which are installed, loading them, and calling their hooks.

- `catalog`: the distributions of this project, and the command that installs each
- `entry_points`: the entry points of the installed distributions, read without loading any
- `kinds`: backends, task plugins, scheduler plugins: what each kind of plugin must be
- `checking`: why a loaded plugin cannot be used
- `hooks`: one method for each hook, which calls all its implementations
- `loading`: loads and registers plugins; `plugin_manager()` returns the manager of this process
- `listing`: the rows of `amltk backends` and `amltk plugins`

This module imports each of them on first use: `catalog` alone must be cheap to import.
"""

from __future__ import annotations

TYPE_CHECKING = False  # `typing` takes long to import
if TYPE_CHECKING:
    from typing import Any

    from amltk.plugins.loading import plugin_manager, reset_plugins

__all__ = ["plugin_manager", "reset_plugins"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    from amltk.plugins import loading

    value = globals()[name] = getattr(loading, name)
    return value
