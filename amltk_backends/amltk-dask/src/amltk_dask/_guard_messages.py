"""Messages between the main process, the guard of a worker, and the worker.

The module does not import dask, to keep the guard small.
"""

from __future__ import annotations

import json
import os
import pickle
from typing import Any, BinaryIO

GRACE = 2.0
"""Seconds that a worker has to end after it was asked to."""

END_OF_REASON = "\0"
"""Separates, in a worker's notes, the reason why it ended itself from the output of faulthandler."""


def send_options(target: BinaryIO, options: dict[str, Any]) -> None:
    """Send the options of a worker to its guard."""
    data = pickle.dumps(options)
    target.write(len(data).to_bytes(8, "big") + data)
    target.flush()


def read_options(source: Any) -> dict[str, Any]:
    """Return the options that `send_options` sent; end this process if the main process is gone."""
    size = int.from_bytes(source.read(8), "big")
    data = b""
    while len(data) < size:
        part = source.read(size - len(data))
        if not part:
            os._exit(0)
        data += part
    found: dict[str, Any] = pickle.loads(data)
    return found


def write_report(report: int, values: dict[str, int]) -> None:
    """Report the worker's pid, connection or exit to the main process."""
    os.write(report, json.dumps(values).encode() + b"\n")
