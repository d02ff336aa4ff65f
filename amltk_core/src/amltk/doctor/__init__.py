"""`amltk doctor`: checks whether an installed backend works here, and times each step.

- `diagnosis`: all checks of a backend, in order, and their outcomes
- `requirements`: compares installed versions with required ones
- `process`: the process in which a backend is examined: reads its messages, and ends it
- `probe`: the program of that process: load the backend, perform its own health checks, start it, run a call, stop it
"""

from __future__ import annotations

from amltk.doctor.diagnosis import Check, Diagnosis, RefusedOptionsError, examine, examine_all

__all__ = ["Check", "Diagnosis", "RefusedOptionsError", "examine", "examine_all"]
