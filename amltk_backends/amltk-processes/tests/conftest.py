from __future__ import annotations

import sys
from pathlib import Path

import pytest

# Workers import the functions that are not sent by value from here.
sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(autouse=True)
def _nothing_is_left(nothing_is_left: None) -> None:
    """For every test of this folder."""
