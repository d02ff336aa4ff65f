"""The functions that the rows about processes call. It imports little, as workers must import it too."""

from __future__ import annotations

import os
import time
from typing import Any


def identity(value: int) -> int:
    """Return the argument."""
    return value


def ten_milliseconds(value: int) -> int:
    """Sleep for ten milliseconds."""
    time.sleep(0.01)
    return value


def array(megabytes: int) -> Any:
    """Return a NumPy array of that size."""
    import numpy as np

    return np.full(megabytes * 125_000, 1.0)


def when(_: int) -> float:
    """Return the time of the call, by a clock that all processes share."""
    return time.monotonic()


def die(_: int) -> None:
    """End the worker."""
    os._exit(1)
