"""Test suites for backends and task plugins, and test doubles for callbacks.

    class TestMine(BackendTests):       the suite for a backend
    class TestMine(TaskPluginTests):    the suite for a task plugin
    ManualExecutor                      an executor whose futures resolve when told
    EventRecorder                       what was emitted, with assertions that can be read
    FakeSite, fake_distribution         what Python takes for an installed distribution

Workers import `amltk_testing.calls`, so this module loads each name when it is first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from amltk_testing.backends import BackendTests
    from amltk_testing.distributions import FakeSite, fake_distribution
    from amltk_testing.manual import ManualExecutor
    from amltk_testing.recorder import EventRecorder
    from amltk_testing.task_plugins import TaskPluginTests

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
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
