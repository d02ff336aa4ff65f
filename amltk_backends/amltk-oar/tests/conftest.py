from __future__ import annotations

import sys
from pathlib import Path

# What the batch systems share.
sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[2] / "amltk-dask-jobqueue" / "tests")]

from standin_fixture import _thread_of_dask  # noqa: E402, F401 - a fixture
