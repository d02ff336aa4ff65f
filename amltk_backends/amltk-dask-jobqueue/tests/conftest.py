from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from standin_fixture import _thread_of_dask, standin  # noqa: F401 - fixtures
