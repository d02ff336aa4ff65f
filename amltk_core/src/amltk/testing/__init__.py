"""Tests for those who write backends, task plugins and callbacks. Installed by `amltk-core[testing]`.

    class TestMine(BackendTests):       the suite for a backend
    class TestMine(TaskPluginTests):    the suite for a task plugin
    ManualExecutor                      an executor whose futures resolve when told
    EventRecorder                       what was emitted, with assertions that can be read
    FakeSite, fake_distribution         what Python takes for an installed distribution

Workers import `amltk.testing.calls` from here, so nothing else is loaded before it is asked for.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from amltk.testing.backends import BackendTests
    from amltk.testing.distributions import FakeSite, fake_distribution
    from amltk.testing.manual import ManualExecutor
    from amltk.testing.recorder import EventRecorder
    from amltk.testing.task_plugins import TaskPluginTests

_HOME = {
    "BackendTests": "backends",
    "EventRecorder": "recorder",
    "FakeSite": "distributions",
    "ManualExecutor": "manual",
    "TaskPluginTests": "task_plugins",
    "fake_distribution": "distributions",
}

__all__ = ["BackendTests", "EventRecorder", "FakeSite", "ManualExecutor", "TaskPluginTests", "fake_distribution"]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    try:
        return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
    except ModuleNotFoundError as error:
        if error.name not in {"hypothesis", "psutil", "pytest"}:
            raise
        from amltk.plugins.catalog import how_to_install

        msg = f"amltk.testing.{name} needs {error.name}. Install it: {how_to_install('amltk-core', 'testing')}"
        raise ImportError(msg, name=error.name) from None
