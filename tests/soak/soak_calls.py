"""What workers of the soak run."""

from __future__ import annotations

import ctypes
import os
import signal
import time

KINDS = ("no-op", "sleep", "compute", "large", "raise", "SIGKILL", "SIGSEGV", "exit", "cancelled", "too long")
WEIGHTS = (500, 250, 100, 40, 40, 4, 3, 3, 4, 2)


def work(number: int, kind: str, amount: float, begun: str, payload: bytes) -> tuple[int, int]:
    """Note that call `number` has begun, in the file `begun`, and do what its kind says; return number and size."""
    note = os.open(begun, os.O_WRONLY | os.O_APPEND)
    os.write(note, number.to_bytes(4, "little"))
    os.close(note)
    if kind == "sleep":
        time.sleep(amount)
    elif kind == "compute":
        end = time.perf_counter() + amount
        while time.perf_counter() < end:
            pass
    elif kind == "raise":
        raise ValueError(number)
    elif kind == "SIGKILL":
        os.kill(os.getpid(), signal.SIGKILL)
    elif kind == "SIGSEGV":
        ctypes.string_at(0)
    elif kind == "exit":
        os._exit(3)
    elif kind in {"cancelled", "too long"}:
        time.sleep(60)
    return number, len(payload)
