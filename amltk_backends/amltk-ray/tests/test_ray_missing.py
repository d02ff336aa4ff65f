"""A Python for which there is no Ray."""

from __future__ import annotations

import sys

import pytest

from amltk import Scheduler


def test_a_missing_ray_is_told_when_the_scheduler_is_made(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ModuleNotFoundError, match=r"Ray, which is not installed.* -m pip install ray.*older Python"):
        Scheduler.with_ray()
