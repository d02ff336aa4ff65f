from __future__ import annotations

import sys
from pathlib import Path

# The stand-in for batch systems is what all of them share.
sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[2] / "amltk-dask-jobqueue" / "tests")]

from standin_fixture import _thread_of_dask, standin  # noqa: E402, F401 - fixtures
