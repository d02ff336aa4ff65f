"""What the rows about processes call. It imports nothing, for workers would have to import it too."""

from __future__ import annotations

import os
import time
from typing import Any


def identity(value: int) -> int:
    """Do nothing."""
    return value


def ten_milliseconds(value: int) -> int:
    """Do nothing for ten milliseconds."""
    time.sleep(0.01)
    return value


def array(megabytes: int) -> Any:
    """Return a NumPy array of that size."""
    import numpy as np

    return np.full(megabytes * 125_000, 1.0)


def when(_: int) -> float:
    """Return when it is called, by a clock that all processes share."""
    return time.monotonic()


def die(_: int) -> None:
    """End the worker."""
    os._exit(1)
